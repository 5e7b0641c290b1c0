"""Trajectories: the sampler's own states, log-probabilities by closed forms, and which steps carry them."""

import math

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.distributions import Normal

from attribution.core.rng import rng
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Batch
from attribution.diffusion import quantities
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.elbo import predicted_clean
from attribution.diffusion.ensemble import predict, stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.sampler import sample
from attribution.diffusion.trajectory import (
    inferred,
    journey,
    log_probability,
    measured,
    output_gradient,
    rows,
    steps,
    trajectory,
    value,
)
from attribution.errors import StudyError

SHAPE = (1, 4, 4)
CPU = torch.device("cpu")
NAMES = [f"generated/{number}" for number in range(6)]
MEAN, SPREAD = 0.2, 0.1
ABAR = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))


def sampling(count=100, eta=1.0, clip=False, floor=0.0):
    return {"steps": count, "eta": eta, "clip": clip, "floor": floor}


def optimal(x, t, gain=1.0):
    """eps(x, t) of data N(MEAN, SPREAD^2), times a gain."""
    abar = torch.from_numpy(ABAR)[t].view(-1, 1, 1, 1)
    best = (1 - abar).sqrt() * (x - abar.sqrt() * MEAN) / (abar * SPREAD**2 + 1 - abar)
    return (gain * best).to(x.dtype)


def run(diffusion, how, denoise=optimal, names=NAMES):
    return trajectory(denoise, diffusion, how, 0, names, SHAPE, CPU)


def keyed(k):
    """The sampler's noise of step k, [Q, C, H, W]."""
    return torch.from_numpy(np.stack([rng(0, "sample", n, k).standard_normal(SHAPE, dtype=np.float32) for n in NAMES]))


@pytest.mark.parametrize("how", [sampling(), sampling(10, 0.5, True), sampling(7, 0.0, True)])
def test_it_ends_in_the_samples(how, diffusion):
    path = run(diffusion, how)
    assert path.states.shape == (6, how["steps"] + 1, *SHAPE)
    assert path.outputs.shape == (6, how["steps"], *SHAPE)
    assert torch.equal(path.states[:, -1], sample(optimal, diffusion, how, 0, NAMES, SHAPE, CPU))
    assert torch.equal(path.states[:, 0], keyed("x_T"))
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(how["steps"])
    assert torch.equal(path.t, scheduler.timesteps)
    for k in (0, how["steps"] - 1):
        expected = optimal(path.states[:, k], path.t[k].expand(6))
        assert torch.equal(path.outputs[:, k], expected)


@pytest.mark.parametrize(("count", "eta"), [(100, 1.0), (1000, 1.0), (10, 0.5), (7, 1.0)])
def test_steps_are_the_samplers(count, eta, diffusion):
    """Each state is the mean plus sigma times the keyed noise: rounding of float32 is 1e-3 of sigma at the least noise,
    1e-6 of it at most steps; a wrong stride, schedule end or eta is of order 1.
    """
    path, counted = run(diffusion, sampling(count, eta)), steps(diffusion, sampling(count, eta))
    assert counted.index.tolist() == list(range(count - 1))  # all but the last, of variance zero
    assert torch.equal(counted.t, path.t[:-1])
    for place in (0, 1, len(counted) // 2, len(counted) - 1):
        k = counted.index[place]
        mean = counted.scale[place] * path.states[:, k].double() - counted.shift[place] * path.outputs[:, k].double()
        z = (path.states[:, k + 1] - mean) / counted.sigma[place]
        torch.testing.assert_close(z, keyed(k.item()).double(), rtol=0, atol=2e-3)


def test_variance_of_a_full_chain_is_the_posteriors(diffusion):
    """eta = 1 with every timestep is DDPM's "fixed small": (1 - abar_{t-1}) / (1 - abar_t) beta_t."""
    counted = steps(diffusion, sampling(1000))
    beta = np.linspace(0.0001, 0.02, 1000)
    expected = (1 - ABAR[:-1]) / (1 - ABAR[1:]) * beta[1:]
    np.testing.assert_allclose(counted.sigma.square().numpy()[::-1], expected, rtol=1e-3)


@pytest.mark.parametrize("count", [100, 1000])
def test_log_probability_under_the_generating_model(count, diffusion):
    """sum_k -(log(2 pi sigma_k^2) + z_k^2) / 2 with the keyed z, whose expectation is minus the Gaussian's entropy."""
    path, counted = run(diffusion, sampling(count)), steps(diffusion, sampling(count))
    x, t, target = rows(counted, path)
    found = log_probability(path, value(counted, optimal(x, t), t, target).view(6, -1))
    noise = torch.stack([keyed(k) for k in ["x_T", *range(count - 1)]], 1).double().square().mean((2, 3, 4))  # [Q, K]
    variance = torch.cat([torch.ones(1), counted.sigma.square()])
    expected = -((2 * math.pi * variance).log() + noise).sum(1) / 2
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    entropy = ((2 * math.pi * variance).log() + 1).sum() / 2
    # 6 x 16 pixels x K squares of standard normals, of variance 2, halved. A lost half is off by K / 4.
    error = math.sqrt(count / 2 / (6 * 16))
    assert abs(found.mean() + entropy) < 4 * error
    assert 4 * error < count / 20


def test_log_probability_is_that_of_gaussian_transitions(denoiser, diffusion):
    """Of a random network on the way of another model, by torch.distributions, one transition at a time."""
    model = build(denoiser, SHAPE).double()
    weights = [{k: v.double() for k, v in initial(denoiser, SHAPE, 0, m).items()} for m in range(3)]
    how = sampling(10, 0.7, True)
    path, counted = run(diffusion, how), steps(diffusion, how)
    path = type(path)(path.states.double(), path.outputs.double(), path.t)
    x, t, target = rows(counted, path)
    outputs = predict(model, stack(weights), x, t)  # [M, Q S, C, H, W]
    found = log_probability(path, value(counted, outputs, t, target).view(3, 6, -1))
    assert found.shape == (3, 6)
    abar = alphas_cumprod(diffusion).double()
    for m in range(3):
        model.load_state_dict(weights[m])
        total = Normal(torch.zeros(()).double(), 1.0).log_prob(path.states[:, 0]).flatten(1).mean(1)
        for k, now in enumerate(path.t[:-1].tolist()):
            a, b, y = abar[now], abar[now - 100], path.states[:, k]
            sigma = 0.7 * ((1 - b) / (1 - a) * (1 - a / b)).sqrt()
            eps = model(y, torch.full((6,), now)).detach()
            clean = (y - (1 - a).sqrt() * eps) / a.sqrt()  # not clipped, though the sampler did
            mean = b.sqrt() * clean + (1 - b - sigma**2).sqrt() * eps
            total += Normal(mean, sigma).log_prob(path.states[:, k + 1]).flatten(1).mean(1)
        torch.testing.assert_close(found[m].detach(), total, rtol=1e-9, atol=1e-9)


def test_another_model_finds_the_way_less_probable(diffusion):
    path, counted = run(diffusion, sampling()), steps(diffusion, sampling(floor=0.02))
    x, t, target = rows(counted, path)
    own, other = (
        log_probability(path, value(counted, f, t, target).view(6, -1)) for f in (optimal(x, t), optimal(x, t, 0.8))
    )
    assert (own > other).all()


def shares(diffusion, count, floor):
    """Share of each counted step in the sum of the steps' variances across models, [S].

    Models: the optimum plus errors of one size, 0.05, at all timesteps, each pixel and ten timesteps with one of their
    own.
    """
    how = sampling(count)
    path, counted = run(diffusion, how), steps(diffusion, how | {"floor": floor})
    x, t, target = rows(counted, path)
    generator = torch.Generator().manual_seed(0)
    errors = 0.05 * torch.randn(40, 100, *SHAPE, generator=generator)  # [M, T / 10, C, H, W]
    outputs = optimal(x, t) + errors[:, t // 10]  # [M, Q S, C, H, W]
    found = value(counted, outputs, t, target).view(40, 6, -1)  # [M, Q, S]
    variance = found.double().var(0).mean(0)
    return variance / variance.sum()


def test_no_step_carries_more_than_half_of_the_variance(diffusion):
    """Neither in a full chain nor in a strided one, from which the short last step is left out: there it would.

    The strides and floors are those of the studies.
    """
    for count, floor in ((1000, 0.0), (100, 0.05), (50, 0.05)):
        assert shares(diffusion, count, floor).max() < 0.5
    for count in (100, 50):
        assert shares(diffusion, count, 0.0)[-1] > 0.5


def test_nor_between_two_networks(denoiser, diffusion):
    """Two random networks on the way of a third: with the floor no step makes half of their difference, squared; with
    the short last step left in, that one makes three quarters of it.
    """
    model = build(denoiser, SHAPE)
    weights = [initial(denoiser, SHAPE, 0, m) for m in range(2)]
    path = run(diffusion, sampling())
    found = {}
    for floor in (0.0, 0.05):
        counted = steps(diffusion, sampling(floor=floor))
        x, t, target = rows(counted, path)
        values = value(counted, predict(model, stack(weights), x, t), t, target).detach().view(2, 6, -1).double()
        squares = (values[0] - values[1]).square().mean(0)
        found[floor] = squares / squares.sum()
    assert found[0.05].max() < 0.5
    assert found[0.0][-1] > 0.5


def test_a_floored_last_step_would_be_all(diffusion):
    """sigma = 1e-10 in place of leaving the step out: an error of 1 % of the noise moves the predicted image by 1e-4,
    which costs 5e11 nats a pixel, against some 10 for all other steps together.
    """
    path, counted = run(diffusion, sampling()), steps(diffusion, sampling())
    x, t, target = rows(counted, path)
    own, other = (value(counted, f, t, target).view(6, -1).mean(1) for f in (optimal(x, t), optimal(x, t) + 0.01))
    assert (other - own).abs().max() < 10
    x, t = path.states[:, -2].double(), torch.zeros(6, dtype=torch.int64)
    miss = predicted_clean(torch.from_numpy(ABAR), x, t, optimal(x, t) + 0.01) - path.states[:, -1]
    assert miss.square().mean() / (2 * 1e-20) > 1e11


def test_floor_leaves_out_the_steps_below_it(diffusion):
    everyone, fewer = steps(diffusion, sampling()), steps(diffusion, sampling(floor=0.02))
    assert (len(everyone), len(fewer)) == (99, 98)
    assert torch.equal(fewer.t, everyone.t[:-1])
    assert (fewer.sigma > 0.02).all()
    for how, floor in ((sampling(eta=0.0), 0.0), (sampling(), 1.0)):
        with pytest.raises(StudyError, match="no sampling step has noise"):
            steps(diffusion, how | {"floor": floor})


def test_rows_of_a_part_are_those_of_all(diffusion):
    path, counted = run(diffusion, sampling(20)), steps(diffusion, sampling(20))
    samples, picks = slice(2, 4), slice(5, 19)
    part = rows(counted, path, samples, picks)
    for found, whole in zip(part, rows(counted, path), strict=True):
        expected = whole.unflatten(0, (6, 19))[samples, picks].flatten(0, 1)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("batch", [7, 30, 1000])
def test_measured_is_minus_the_log_probability_of_each_model(batch, denoiser, diffusion):
    model = build(denoiser, SHAPE)
    weights = [initial(denoiser, SHAPE, 0, m) for m in range(2)]
    path, counted = run(diffusion, sampling(10)), steps(diffusion, sampling(10))
    found = measured(model, stack(weights), counted, path, batch)
    assert found.shape == (2, 6)
    assert found.dtype == torch.float64
    x, t, target = rows(counted, path)
    for m in range(2):
        model.load_state_dict(weights[m])
        expected = -log_probability(path, value(counted, model(x, t), t, target).view(6, -1))
        torch.testing.assert_close(found[m], expected.detach().double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_inferred_ways_end_in_the_image_and_have_the_forward_marginals(eta, diffusion):
    """q_sigma(y_k | x_0) = q(x_t | x_0) whatever eta (Song et al. 2021, Lemma 1): mean and variance of 3,000 pixels'
    noise to 4 standard errors, and neighbouring states are related as the sampler's are by the true noise.
    """
    images = torch.linspace(-1, 1, 200)[:, None, None, None].expand(200, *SHAPE)
    names = [f"example/{number}" for number in range(200)]
    how = sampling(10, eta)
    path = inferred(optimal, diffusion, how, 0, images, names)
    assert path.states.shape == (200, 11, *SHAPE)
    assert torch.equal(path.states[:, -1], images)
    abar = torch.from_numpy(ABAR)[path.t]
    count = images.numel()
    noises = []
    for k, level in enumerate(abar.tolist()):
        noise = (path.states[:, k] - level**0.5 * images) / (1 - level) ** 0.5
        noises.append(noise)
        assert abs(noise.mean()) < 4 / count**0.5
        assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
        assert torch.equal(path.outputs[:, k], optimal(path.states[:, k], path.t[k].expand(200)))
    counted = steps(diffusion, how)
    for k in (0, 4):
        mean = counted.scale[k] * path.states[:, k] - counted.shift[k] * noises[k]
        z = (path.states[:, k + 1] - mean) / counted.sigma[k]
        assert abs(z.var() - 1) < 4 * (2 / count) ** 0.5
        assert abs((z * noises[k]).mean()) < 4 / count**0.5  # fresh noise
    alone = inferred(optimal, diffusion, how, 0, images[7:8], names[7:8])
    torch.testing.assert_close(alone.states[0], path.states[7], rtol=0, atol=1e-6)


def test_timesteps_that_are_not_counted_are_refused(diffusion):
    path, counted = run(diffusion, sampling()), steps(diffusion, sampling(floor=0.02))
    x = path.states[:, 0]
    with pytest.raises(StudyError, match="none of the trajectory steps"):
        value(counted, x, torch.tensor([990, 980, 10, 970, 960, 950]), x)


def test_gradients_through_a_network(denoiser, diffusion):
    """d log-probability / d theta of each sample, by autograd through the whole sum, at steps where the sampler clips:
    predicted clean images outside [-1, 1] have a gradient as the others do.
    """
    model = build(denoiser, SHAPE).double()
    model.load_state_dict({k: v.double() for k, v in initial(denoiser, SHAPE, 0, "x").items()})
    how = sampling(10, 1.0, True)
    path, counted = run(diffusion, how, lambda x, t: model(x.double(), t).detach().float()), steps(diffusion, how)
    path = type(path)(path.states.double(), path.outputs.double(), path.t)
    x, t, target = rows(counted, path)
    batch = Batch((x, t), target, 6, len(counted))
    found = example_gradients(model, batch, "separate", output_gradient(counted))
    total = log_probability(path, value(counted, model(x, t), t, target).view(6, -1))
    parameters = dict(model.named_parameters())
    for q in (0, 5):
        grads = torch.autograd.grad(total[q], list(parameters.values()), retain_graph=True)
        for name, gradient in zip(parameters, grads, strict=True):
            if name in found:
                torch.testing.assert_close(found[name][q].flatten(), -gradient.flatten(), rtol=1e-9, atol=1e-11)
    clean, _ = journey(path, diffusion, NAMES, clip=False)
    outside = clean.view(6, 10, *SHAPE)[:, :-1].abs() > 1
    assert 0.1 < outside.double().mean() < 1
    u = output_gradient(counted)(model(x, t), batch).view(6, -1, *SHAPE)
    assert (u[outside] != 0).all()


def test_gradient_is_the_slope(diffusion):
    counted = steps(diffusion, sampling(10))
    path = run(diffusion, sampling(10))
    x, t, target = (part.double() if part.is_floating_point() else part for part in rows(counted, path))
    f = optimal(x, t, 0.8)
    slope = quantities.differentiate(lambda g: value(counted, g, t, target), f)
    for pixel in ((0, 0, 0), (0, 2, 3)):
        move = torch.zeros_like(f)
        move[(slice(None), *pixel)] = 1e-5
        rise = (value(counted, f + move, t, target) - value(counted, f - move, t, target)) / 2e-5
        torch.testing.assert_close(slope[(slice(None), *pixel)], rise, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("clip", [False, True])
def test_journey_images_are_what_the_sampler_predicts(clip, diffusion):
    how = sampling(10, 1.0, clip)
    path = run(diffusion, how, lambda x, t: 0.5 * x)
    images, names = journey(path, diffusion, NAMES, clip)
    assert images.shape == (60, *SHAPE)
    assert len(set(names)) == 60
    assert names[:2] + names[10:11] == ["generated/0/t900", "generated/0/t800", "generated/1/t900"]
    scheduler = DDIMScheduler(beta_start=0.0001, beta_end=0.02, clip_sample=clip)
    scheduler.set_timesteps(10)
    for k, t in enumerate(scheduler.timesteps):
        expected = scheduler.step(path.outputs[:, k], t, path.states[:, k]).pred_original_sample
        torch.testing.assert_close(images.view(6, 10, *SHAPE)[:, k], expected, rtol=1e-4, atol=1e-5)
    last = images.view(6, 10, *SHAPE)[:, -1]
    last = last.clamp(-1, 1) if clip else last
    torch.testing.assert_close(last, path.states[:, -1], rtol=1e-4, atol=1e-5)


def test_journey_of_perfect_predictions_is_the_image(diffusion):
    image = torch.full(SHAPE, 0.3)
    abar = alphas_cumprod(diffusion)

    def denoise(x, t):
        scale = abar[t].view(-1, 1, 1, 1)
        return (x - scale.sqrt() * image) / (1 - scale).sqrt()

    images, _ = journey(run(diffusion, sampling(10), denoise), diffusion, NAMES, clip=False)
    torch.testing.assert_close(images, image.expand(60, *SHAPE), rtol=0, atol=1e-3)
