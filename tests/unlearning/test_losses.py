"""Losses at a bank: every (example, draw) is its own, whatever the batch; equal examples are equal."""

import pytest
import torch

from attribution.diffusion.noise import add_noise
from attribution.unlearning import bank as banks
from attribution.unlearning.losses import bank_losses
from attribution.unlearning.skew import skew

SETTINGS = {"draws": 8, "grid": "uniform", "fraction": 0.7, "shared": "all"}


def bank_of(world, seed=0, **changes):
    return banks.draw(seed, "main", SETTINGS | changes, world.abar, (1, 4, 4))


def all_losses(world, stack, frozen, bank, images=None, names=None, models=None, batch=10**6):
    images, names = world.images if images is None else images, names or world.names
    models = models or [f"query/{m}" for m in range(len(next(iter(stack.values()))))]
    found = bank_losses(world.model, frozen, stack, models, images, names, bank, world.abar, batch)
    return torch.cat([part for _, part in found], 1)  # [M, N, S]


def moved(world, count=3, size=0.05):
    """Models whose hidden weights are moved at random."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: value + size * torch.randn(count, *value.shape, generator=generator, dtype=value.dtype)
        for name, value in world.trained.items()
    }


def reference(world, bank, **changes):
    return all_losses(world, {n: v[None] for n, v in world.params.items()}, {}, bank, models=["reference"], **changes)[
        0
    ]


def test_rows_are_those_of_a_loop(world) -> None:
    """Item i at draw s, one by one. A layout with levels repeated as images are fails off the diagonal."""
    bank, stack = bank_of(world), moved(world)
    found = all_losses(world, stack, world.frozen, bank, batch=50)
    for m, n, s in ((0, 0, 0), (1, 3, 5), (2, 11, 7), (0, 7, 2)):
        x_t = add_noise(world.abar, world.images[n], bank.t[s], bank.eps[s].double())
        weights = world.frozen | {name: value[m] for name, value in stack.items()}
        output = torch.func.functional_call(world.model, weights, (x_t[None], bank.t[s : s + 1]))[0]
        expected = (output - bank.eps[s]).square().mean()
        assert found[m, n, s].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("shared", ["all", "models", "none"])
def test_batches_and_order_change_nothing(world, shared: str) -> None:
    bank, stack = bank_of(world, shared=shared), moved(world)
    whole = all_losses(world, stack, world.frozen, bank)
    torch.testing.assert_close(all_losses(world, stack, world.frozen, bank, batch=1), whole, rtol=1e-12, atol=0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    names = [world.names[n] for n in order]
    shuffled = all_losses(world, stack, world.frozen, bank, world.images[order], names, batch=70)
    torch.testing.assert_close(shuffled, whole[:, order], rtol=1e-12, atol=0)


def test_the_model_itself_has_no_skew(world) -> None:
    """No step taken: up to rounding of a shared against a stacked product; another bank for u would give 0.1."""
    bank = bank_of(world)
    same = {name: value[None] for name, value in world.trained.items()}
    score = skew(reference(world, bank), all_losses(world, same, world.frozen, bank), 1e-3)
    assert score.abs().max() < 1e-12
    other = skew(reference(world, bank_of(world, 1)), all_losses(world, same, world.frozen, bank), 1e-3)
    assert other.abs().max() > 1e-2


def test_equal_examples_have_equal_scores_where_all_share_the_noise(world) -> None:
    """Examples 10 and 11 are one image. With noise of their own they differ in the second digit."""
    stack = moved(world)
    for shared in ("all", "models"):
        bank = bank_of(world, shared=shared)
        score = skew(reference(world, bank), all_losses(world, stack, world.frozen, bank), 1e-3)
        apart = (score[:, 10] - score[:, 11]).abs().max()
        assert (apart < 1e-12) == (shared == "all")


def test_shared_noise_has_less_variance(world) -> None:
    """Over banks, the skew of an example varies a tenth or less as much as with noise of its own on either side."""
    stack, scores = moved(world, 1, 0.02), {"all": [], "none": []}
    for shared, found in scores.items():
        for seed in range(12):
            bank = bank_of(world, seed, shared=shared)
            found.append(skew(reference(world, bank), all_losses(world, stack, world.frozen, bank), 1e-3)[0])
    variance = {shared: torch.stack(found).var(0).mean().item() for shared, found in scores.items()}
    assert variance["all"] < 0.2 * variance["none"]
