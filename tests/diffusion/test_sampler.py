"""The sampler against closed forms: each of its steps is affine in x where the denoiser is, so whole runs are."""

import math

import numpy as np
import pytest
import torch

from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.sampler import sample

SHAPE = (1, 2, 2)
CPU = torch.device("cpu")
NAMES = [f"generated/{number}" for number in range(1000)]
MEAN, SPREAD = 0.2, 0.1  # of the data: four of its standard deviations are within the final clip to [-1, 1]

BETA = np.linspace(0.0001, 0.02, 1000)
ABAR = np.cumprod(1 - BETA)


def optimal(x, t):
    """eps(x, t) of data N(MEAN, SPREAD^2): sqrt(1 - abar) (x - sqrt(abar) MEAN) / (abar SPREAD^2 + 1 - abar)."""
    abar = torch.from_numpy(ABAR)[t].view(-1, 1, 1, 1)
    return ((1 - abar).sqrt() * (x - abar.sqrt() * MEAN) / (abar * SPREAD**2 + 1 - abar)).float()


def run(denoise, diffusion, steps=100, eta=0.0, clip=False, names=NAMES, seed=0, shape=SHAPE):
    return sample(denoise, diffusion, {"steps": steps, "eta": eta, "clip": clip}, seed, names, shape, CPU)


def affine(steps, eta):
    """(scale of x_T, offset, variance of the added noise) of the samples, from the DDIM update in float64.

    x' = sqrt(abar') x0 + sqrt(1 - abar' - sigma^2) eps + sigma z,
    sigma^2 = eta^2 (1 - abar')/(1 - abar) (1 - abar/abar').
    """
    scale, offset, added = 1.0, 0.0, 0.0
    for t in range(1000 // steps * (steps - 1), -1, -1000 // steps):
        a = ABAR[t]
        b = ABAR[t - 1000 // steps] if t >= 1000 // steps else 1.0
        sigma2 = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        slope = math.sqrt(1 - a) / (a * SPREAD**2 + 1 - a)  # eps = slope (x - sqrt(a) MEAN)
        direction = math.sqrt(1 - b - sigma2)
        by_x = math.sqrt(b / a) * (1 - math.sqrt(1 - a) * slope) + direction * slope
        by_one = (math.sqrt(b / a) * math.sqrt(1 - a) - direction) * slope * math.sqrt(a) * MEAN
        scale, offset, added = by_x * scale, by_x * offset + by_one, by_x**2 * added + sigma2
    return scale, offset, added


def first_noise(diffusion, names=NAMES):
    """x_T, as the denoiser meets it in its first call."""
    seen = []
    run(lambda x, t: seen.append(x) or x, diffusion, 1, names=names)
    return seen[0]


def test_deterministic_and_independent_of_companions(denoiser, diffusion):
    model = build(denoiser, (1, 4, 4))
    model.load_state_dict(initial(denoiser, (1, 4, 4), 0, "x"))
    names = NAMES[:5]
    for eta in (0.0, 1.0):
        base = run(model, diffusion, 10, eta, names=names, shape=(1, 4, 4), clip=True)
        assert torch.equal(run(model, diffusion, 10, eta, names=names, shape=(1, 4, 4), clip=True), base)
        some = run(model, diffusion, 10, eta, names=[names[3], names[0]], shape=(1, 4, 4), clip=True)
        # Other matrix shapes round otherwise; noise that depends on the place in the batch differs by order 1.
        torch.testing.assert_close(some, base[[3, 0]], rtol=0, atol=1e-4)
        assert (
            run(model, diffusion, 10, eta, names=names, seed=1, shape=(1, 4, 4), clip=True) - base
        ).abs().max() > 0.1


def test_the_global_generator_is_neither_read_nor_moved(diffusion):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = run(optimal, diffusion, 10, 1.0, names=NAMES[:4])
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(run(optimal, diffusion, 10, 1.0, names=NAMES[:4]), one)


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_ddim_of_gaussian_data_is_affine(diffusion, steps):
    """Sample by sample: a wrong timestep, schedule end or coefficient moves the scale by more than a thousandth."""
    names = NAMES[:100]
    scale, offset, added = affine(steps, 0.0)
    assert added == 0
    x_T = first_noise(diffusion, names)
    expected = scale * x_T + offset
    assert expected.abs().max() < 1  # the final clip is not reached
    torch.testing.assert_close(run(optimal, diffusion, steps, names=names), expected, rtol=0, atol=2e-5)


def test_first_noise_is_standard_normal(diffusion):
    x = first_noise(diffusion).double()
    assert abs(x.mean()) < 4 / math.sqrt(4000)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / 4000)
    assert torch.unique(x).numel() == 4000


def test_ddim_converges_to_the_data(diffusion):
    """The exact flow takes N(0, 1) to N(MEAN, SPREAD^2), but for the step size, and for what x_T leaves out."""
    errors = []
    for steps in (10, 100, 1000):
        scale, offset, _ = affine(steps, 0.0)
        found = run(optimal, diffusion, steps).double()
        assert abs(found.mean() - offset) < 4 * scale / math.sqrt(4000)
        assert abs(found.std() / scale - 1) < 4 / math.sqrt(2 * 4000)
        errors.append(abs(scale / SPREAD - 1) + abs(offset - MEAN))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


@pytest.mark.parametrize("steps", [10, 100])
def test_ancestral_samples_have_the_moments_of_the_chain(diffusion, steps):
    """eta = 1, four standard errors of 4,000 pixels. Almost all variance is that of the added noise: without it the
    samples would all be one image.
    """
    scale, offset, added = affine(steps, 1.0)
    total = scale**2 + added
    assert added > 0.9 * total
    found = run(optimal, diffusion, steps, 1.0).double()
    assert abs(found.mean() - offset) < 4 * math.sqrt(total / 4000)
    assert abs(found.var() / total - 1) < 4 * math.sqrt(2 / 4000)
    pixels = found.flatten(1) - offset
    off = torch.corrcoef(pixels.mT)[~torch.eye(4, dtype=torch.bool)]
    assert off.abs().max() < 4 / math.sqrt(1000)  # each pixel has noise of its own
    # And each sample: 1,000 rows of shared noise would have column means as wide as a sample, 32 times wider.
    assert pixels.mean(0).abs().max() < 4 * math.sqrt(total / 1000)


def test_ancestral_chain_converges_to_the_data():
    errors = []
    for steps in (10, 100, 1000):
        scale, offset, added = affine(steps, 1.0)
        errors.append(abs(math.sqrt(scale**2 + added) / SPREAD - 1) + abs(offset - MEAN))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


@pytest.mark.parametrize("clip", [False, True])
def test_clip_enters_every_step(diffusion, clip):
    """A denoiser that first leaves the range and then comes back, by hand: x0 is clipped, eps derived from it."""
    names = NAMES[:50]

    def denoise(x, t):
        return x * (t < 500).view(-1, 1, 1, 1)  # no noise above t = 500, x itself below

    def by_hand(clip):
        x = first_noise(diffusion, names).double()
        for t, before in ((666, 333), (333, 0), (0, None)):
            a, b = ABAR[t], 1.0 if before is None else ABAR[before]
            eps = x if t < 500 else 0 * x
            x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
            if clip:
                x0 = x0.clamp(-1, 1)
                eps = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
            x = math.sqrt(b) * x0 + math.sqrt(1 - b) * eps
        return x.clamp(-1, 1) if clip else x  # latents have no range

    found = run(denoise, diffusion, 3, clip=clip, names=names).double()
    torch.testing.assert_close(found, by_hand(clip), rtol=1e-5, atol=1e-5)  # unclipped ones are far from 1
    assert (by_hand(True) - by_hand(False)).abs().mean() > 0.1


def test_denoiser_sees_one_timestep_a_row(diffusion):
    seen = []

    def denoise(x, t):
        assert t.shape == (3,)
        assert len(t.unique()) == 1
        seen.append(int(t[0]))
        return optimal(x, t)

    run(denoise, diffusion, 5, names=NAMES[:3])
    assert seen == [800, 600, 400, 200, 0]
