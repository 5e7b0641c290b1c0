"""Noise banks: the grid of Karras et al. as MUCS cuts it, one noise for all, an order whose prefixes are even."""

import numpy as np
import pytest
import torch

from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.unlearning import bank

ABAR = alphas_cumprod({"timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02})
SETTINGS = {"draws": 100, "grid": "karras", "fraction": 0.7, "shared": "all"}


def drawn(seed=0, **changes):
    return bank.draw(seed, "main", SETTINGS | changes, ABAR, (1, 2, 2))


def test_grid_of_the_paper() -> None:
    """100 of 142 levels: 80 down to 0.3102, 85 above 1; 143 levels would end at 0.327, 141 at 0.293."""
    count = bank.levels(100, 0.7)
    sigma = bank.karras(count)[:100]
    assert count == 142
    assert sigma[0] == pytest.approx(80, rel=1e-12)
    assert sigma[-1] == pytest.approx(0.3102, abs=5e-5)
    assert (sigma > 1).sum() == 85
    assert (np.diff(sigma) < 0).all()
    assert bank.karras(count)[-1] == pytest.approx(0.002, rel=1e-9)


def test_levels_go_to_the_nearest_timestep() -> None:
    """Every timestep is its own nearest; noise beyond the chain's goes to its ends."""
    kept = ABAR.double().numpy()
    sigma = np.sqrt((1 - kept) / kept)
    assert np.array_equal(bank.nearest(sigma[::37], ABAR), np.arange(1000)[::37])
    assert bank.nearest(np.array([1e6, 1e-6]), ABAR).tolist() == [999, 0]


def test_uniform_grid_keeps_the_noisiest() -> None:
    assert sorted(drawn(grid="uniform", fraction=1.0, draws=5).t.tolist()) == [0, 250, 500, 749, 999] or sorted(
        drawn(grid="uniform", fraction=1.0, draws=5).t.tolist()
    ) == [0, 250, 500, 750, 999]
    half = drawn(grid="uniform", fraction=0.5, draws=50).t
    assert half.max() == 999
    assert half.min() == pytest.approx(999 * 50 / 99, abs=1)  # the 50th of 100 levels


def test_the_same_bank_for_the_same_seed_alone() -> None:
    """Equal digests, equal noise; another seed, grid or sharing is another bank."""
    first, again = drawn(), drawn()
    assert torch.equal(first.eps, again.eps)
    assert first.digest() == again.digest()
    others = [drawn(1), drawn(grid="uniform"), drawn(shared="models"), drawn(draws=99)]
    assert len({first.digest(), *(other.digest() for other in others)}) == 5


def test_who_shares_noise() -> None:
    """models: an example's noise is the same in every model; none: it is not."""
    models, none = drawn(shared="models"), drawn(shared="none")
    assert np.array_equal(models.noise("a", "q1"), models.noise("a", "reference"))
    assert not np.array_equal(models.noise("a", "q1"), models.noise("b", "q1"))
    assert not np.array_equal(none.noise("a", "q1"), none.noise("a", "reference"))
    assert np.array_equal(none.noise("a", "q1"), none.noise("a", "q1"))


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100])
def test_prefixes_of_the_order_are_even(count: int) -> None:
    """Every number once; of the first k, no stretch of the grid is left out. A sorted order leaves out all but k."""
    order = bank.even_order(count)
    assert sorted(order.tolist()) == list(range(count))
    for k in (4, 8, 16):
        if k <= count:
            gaps = np.diff(np.sort(np.concatenate([[-1], order[:k], [count]])))
            assert gaps.max() <= 2 * (count / k) + 1 or count < 2 * k


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(StudyError, match="shared: 'some'"):
        drawn(shared="some")
    with pytest.raises(StudyError, match="grid: 'log'"):
        drawn(grid="log")
