"""The keyed draws: what each depends on, how t and eps are distributed, and the forward process in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.diffusion.noise import NOISE_BLOCK, add_noise, alphas_cumprod, draws, tiles

SHAPE = (1, 2, 2)
T = 1000


def of(examples, start, stop, stream="measurement", seed=0, timesteps=T):
    return draws(seed, stream, examples, start, stop, timesteps, SHAPE)


def test_pinned_values():
    t, eps = draws(0, "measurement", ["example/3"], 0, 5, 1000, (1, 1, 2))
    assert t.tolist() == [[33, 651, 269, 887, 505]]
    assert (t.dtype, eps.dtype, eps.shape) == (torch.int64, torch.float32, (1, 5, 1, 1, 2))
    expected = [-0.12305009, 1.69016492, 0.81333035, 1.23795104, -0.02757342, -2.32021713]
    np.testing.assert_allclose(eps.flatten()[:6], expected, rtol=3e-7)  # the platform's log: one unit in the last place


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3 * NOISE_BLOCK), st.integers(1, 3 * NOISE_BLOCK))
def test_any_range_is_a_part_of_the_whole(start, count):
    """More draws only add draws, and how they are cut changes none, also across the blocks that share a generator."""
    t, eps = of(["example/0", "example/1"], 0, 6 * NOISE_BLOCK)
    part_t, part_eps = of(["example/0", "example/1"], start, start + count)
    assert torch.equal(part_t, t[:, start : start + count])
    assert torch.equal(part_eps, eps[:, start : start + count])


def test_draws_do_not_depend_on_companions():
    names = [f"example/{number}" for number in range(4)]
    t, eps = of(names, 0, 60)
    for order in ([2], [3, 1], [3, 2, 1, 0]):
        found_t, found_eps = of([names[i] for i in order], 0, 60)
        assert torch.equal(found_t, t[order])
        assert torch.equal(found_eps, eps[order])


def test_draws_depend_on_every_name():
    base = of(["example/0"], 0, 4)
    others = [of(["example/1"], 0, 4), of(["example/0"], 0, 4, "gradients/train"), of(["example/0"], 0, 4, seed=1)]
    for t, eps in others:
        assert not torch.equal(t, base[0])
        assert not torch.isclose(eps, base[1]).any()


def test_no_draw_is_repeated():
    """A block that starts its generator anew would repeat the first draws of the block before."""
    _, eps = of([f"example/{number}" for number in range(3)], 0, 4 * NOISE_BLOCK)
    rows = eps.flatten(0, 1).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 3 * 4 * NOISE_BLOCK


def test_eps_is_standard_normal():
    """12,800 examples x draws x 4 pixels = 51,200 numbers: four standard errors of each moment."""
    _, eps = of([f"example/{number}" for number in range(64)], 0, 200)
    x = eps.double().flatten()
    n = len(x)
    assert abs(x.mean()) < 4 * n**-0.5
    assert abs(x.var() - 1) < 4 * (2 / n) ** 0.5  # uniform noise of variance 1/12, or of sd 2, is out by far
    assert abs((x**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((x**4).mean() - 3) < 4 * (96 / n) ** 0.5  # uniform noise of variance 1 scores 1.8
    pixels = eps.double().flatten(0, 1).flatten(1)  # [E, D]
    off = torch.corrcoef(pixels.mT)[~torch.eye(4, dtype=torch.bool)]
    assert off.abs().max() < 4 * len(pixels) ** -0.5
    successive = (pixels[1:] * pixels[:-1]).mean()
    assert abs(successive) < 4 * n**-0.5


def discrepancy(t, timesteps):
    """n times the largest gap between the share of t in an interval and the interval's length."""
    counts = np.concatenate([[0], np.cumsum(np.bincount(t, minlength=timesteps))])  # t < k
    surplus = counts - len(t) * np.arange(timesteps + 1) / timesteps
    return surplus.max() - surplus.min()


def test_every_prefix_covers_the_timesteps():
    """Golden-ratio points are even at every length: within 4 draws of uniform in any interval, where independent t are
    off by about 1.2 sqrt(n), 39 draws of 1,000; t in sorted order would be off by n at the first prefixes.
    """
    names = [f"example/{number}" for number in range(5)]
    t, _ = of(names, 0, 1000)
    assert t.min() >= 0
    assert t.max() < T
    for row in t.numpy():
        for n in (1, 2, 3, 10, 30, 55, 100, 300, 1000):
            assert discrepancy(row[:n], T) < 4
    random = np.random.default_rng(0).integers(T, size=1000)
    assert discrepancy(random, T) > 20


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 1000), st.integers(0, 10**6))
def test_timesteps_are_in_range(timesteps, seed, start):
    t, _ = draws(seed, "range", ["x"], start, start + 3, timesteps, (1, 1, 1))
    assert ((t >= 0) & (t < timesteps)).all()


def test_starts_of_examples_are_spread():
    """The first t of 400 examples: 100 in a quarter of the range (standard deviation 8.7), 400 if all start alike."""
    t, _ = of([f"example/{number}" for number in range(400)], 0, 1)
    quarters = np.bincount(t[:, 0].numpy() * 4 // T, minlength=4)
    assert np.abs(quarters - 100).max() < 35


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("steps", "first", "last"), [(1000, 0.0001, 0.02), (50, 0.001, 0.3)])
def test_alphas_are_those_of_diffusers(schedule, steps, first, last):
    """Bit for bit: samplers take theirs from diffusers. Computed in float64 and rounded, some differ."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    ours = alphas_cumprod({"timesteps": steps, "beta_schedule": schedule, "beta_start": first, "beta_end": last})
    theirs = DDPMScheduler(steps, first, last, schedule).alphas_cumprod
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)


def test_noise_keeps_the_length_of_orthogonal_pairs(diffusion):
    """abar + (1 - abar) = 1: with |x0| = |eps| and x0 orthogonal to eps, |x_t| is the same at every t."""
    abar = alphas_cumprod(diffusion).double()
    q, _ = torch.linalg.qr(torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    x0, eps = q.mT.view(2, 1, 4, 4)
    t = torch.arange(T)
    x_t = add_noise(abar, x0.expand(T, 1, 4, 4), t, eps.expand(T, 1, 4, 4))
    # One coefficient without its root: 0.93 or less in the middle of the range.
    torch.testing.assert_close(x_t.flatten(1).norm(dim=1), torch.ones(T, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close((x_t * x0).flatten(1).sum(1).square(), abar, rtol=1e-12, atol=0)
    assert ((x_t * eps).flatten(1).sum(1) > 0).all()


def test_noise_of_any_leading_shape(diffusion):
    abar = alphas_cumprod(diffusion)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(3, 1, 1, 2, 2, generator=generator), torch.randn(3, 5, 1, 2, 2, generator=generator)
    t = torch.randint(T, (3, 5), generator=generator)
    found = add_noise(abar, x0, t, eps)
    assert found.shape == eps.shape
    for i in range(3):
        for e in range(5):
            a = abar[t[i, e]]
            assert torch.equal(found[i, e], a.sqrt() * x0[i, 0] + (1 - a).sqrt() * eps[i, e])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 60))
def test_tiles_cover_every_pair_once(examples, count, batch):
    seen = np.zeros((examples, count), dtype=int)
    for rows, start, stop in tiles(examples, count, batch):
        part = seen[rows, start:stop]
        assert 0 < part.size <= batch
        part += 1
    assert (seen == 1).all()


def test_tiles_are_few():
    """Memory is used: at least half of each batch, but for the last ones."""
    found = list(tiles(100, 30, 1000))
    assert len(found) == 4
    assert list(tiles(2, 1000, 400)) == [
        (slice(0, 1), 0, 400),
        (slice(0, 1), 400, 800),
        (slice(0, 1), 800, 1000),
        (slice(1, 2), 0, 400),
        (slice(1, 2), 400, 800),
        (slice(1, 2), 800, 1000),
    ]


@pytest.mark.parametrize("schedule", ["scaled_linear", "squaredcos_cap_v2"])
def test_other_schedules_fall_from_one_to_zero(diffusion, schedule):
    abar = alphas_cumprod(diffusion | {"beta_schedule": schedule})
    assert (abar.diff() < 0).all()
    assert abar[0] > 0.99
    assert abar[-1] < 0.05
