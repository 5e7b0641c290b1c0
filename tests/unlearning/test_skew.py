"""The scores as formulas: bounds, symmetries and the order of mean and ratio."""

import pytest
import torch

from attribution.errors import StudyError
from attribution.unlearning.skew import compare, difference, skew, skew_of_means

GENERATOR = torch.Generator().manual_seed(1)
T = torch.rand(6, 9, generator=GENERATOR, dtype=torch.float64) + 0.01  # [n, S]
U = torch.rand(2, 6, 9, generator=GENERATOR, dtype=torch.float64) + 0.01  # [M, n, S]


def test_hand_example_tells_the_mean_of_ratios_from_the_ratio_of_means() -> None:
    """Ratios 1/2 and 0 have mean 1/4; the ratio of means is (4 - 2) / (4 + 2) = 1/3; means of u - t: 1."""
    t, u = torch.tensor([[1.0, 1.0]]), torch.tensor([[[3.0, 1.0]]])
    assert skew(t, u, 0.0).item() == 0.25
    assert skew_of_means(t, u, 0.0).item() == pytest.approx(1 / 3)
    assert difference(t, u).item() == 1.0


def test_without_a_floor_it_is_the_tanh_of_half_the_log_ratio() -> None:
    expected = torch.tanh(0.5 * (U / T).log()).mean(-1)
    torch.testing.assert_close(skew(T, U, 0.0), expected, rtol=0, atol=1e-12)


def test_bounded_and_antisymmetric() -> None:
    assert (skew(T, U * 1e6, 1e-3).abs() < 1).all()
    torch.testing.assert_close(skew(T, U[:1], 1e-3), -skew(U[0], T[None], 1e-3), rtol=0, atol=1e-15)


def test_weights_of_examples_and_levels_do_not_matter() -> None:
    """Exact without a floor; with one the change is bounded by the floor over the smaller sum. Differences scale."""
    c = 10 ** (4 * torch.rand(6, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 2)
    torch.testing.assert_close(skew(c * T, c * U, 0.0), skew(T, U, 0.0), rtol=0, atol=1e-12)
    smaller = torch.minimum(T + U, c * (T + U))
    moved = (skew(c * T, c * U, 1e-3) - skew(T, U, 1e-3)).abs()
    assert (moved <= (1e-3 / smaller).mean(-1)).all()
    assert not torch.allclose(difference(c * T, c * U), difference(T, U), rtol=0.1)


def test_no_change_is_exactly_zero_even_where_losses_are() -> None:
    before = T.clone()
    before[0, 0] = 0.0
    for floor in (0.0, 1e-3):
        assert skew(before, before[None], floor).abs().max() == 0


def test_choice_by_name() -> None:
    assert torch.equal(compare("skew", 1e-3, T, U), skew(T, U, 1e-3))
    assert torch.equal(compare("difference", 1e-3, T, U), difference(T, U))
    assert torch.equal(compare("skew_of_means", 1e-3, T, U), skew_of_means(T, U, 1e-3))
    with pytest.raises(StudyError, match="score: 'ratio' is not known"):
        compare("ratio", 1e-3, T, U)
