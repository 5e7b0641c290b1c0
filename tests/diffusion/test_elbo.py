"""The bound against torch.distributions term by term, and as a whole against the exact Gaussian chain."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.polynomial.hermite_e import hermegauss
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from attribution.diffusion import elbo
from attribution.diffusion.elbo import kl_weight, log_difference, negative_elbo, predicted_clean, schedule
from attribution.diffusion.noise import add_noise, alphas_cumprod
from attribution.errors import StudyError

MEAN, SPREAD = 0.2, 0.3  # of Gaussian data
SHORT = {"timesteps": 8, "beta_schedule": "linear", "beta_start": 0.02, "beta_end": 0.5}
CLOSE = dict(rtol=1e-9, atol=1e-11)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def optimal(s, x, t):
    """eps(x, t) of data N(MEAN, SPREAD^2): sqrt(1 - abar) (x - sqrt(abar) MEAN) / (abar SPREAD^2 + 1 - abar)."""
    abar = s.abar[t].view(-1, 1, 1, 1)
    return (1 - abar).sqrt() * (x - abar.sqrt() * MEAN) / (abar * SPREAD**2 + 1 - abar)


def test_schedule_is_that_of_diffusers(diffusion):
    s = schedule(diffusion, 17)
    theirs = DDPMScheduler(1000, diffusion["beta_start"], diffusion["beta_end"], "linear")
    assert torch.equal(s.abar, alphas_cumprod(diffusion).double())  # the numbers that noise is added with
    # abar is float32: beta = 1 - abar_t / abar_{t-1} has two of its roundings. An index off by one is off by 2e-5.
    torch.testing.assert_close(s.beta, theirs.betas.double(), rtol=0, atol=3e-7)
    torch.testing.assert_close(s.alpha, 1 - s.beta, rtol=0, atol=0)
    for t in (1, 10, 999):
        assert s.posterior_variance[t].item() == pytest.approx(float(theirs._get_variance(t)), rel=1e-3)
    assert s.posterior_variance[0] == 0
    assert (s.bin_width, schedule(diffusion, 256).bin_width) == (2 / 16, 2 / 255)
    with pytest.raises(StudyError, match="levels is 1"):
        schedule(diffusion, 1)


def test_terms_are_the_divergences_of_two_gaussians(diffusion):
    """q by Ho et al. 2020, Eq. 7, p by Eq. 11 with variance beta_t; a swapped pair or 'fixed small' differs by 1e-3."""
    s = schedule(diffusion, 17)
    t = torch.tensor([1, 2, 30, 500, 999])
    x0, eps, output = normal(5, 1, 2, 2), normal(5, 1, 2, 2, seed=1), normal(5, 1, 2, 2, seed=2)
    a, b, abar = (table[t].view(-1, 1, 1, 1) for table in (s.alpha, s.beta, s.abar))
    before = s.abar[t - 1].view(-1, 1, 1, 1)
    x_t = add_noise(s.abar, x0, t, eps)
    posterior = before.sqrt() * b / (1 - abar) * x0 + a.sqrt() * (1 - before) / (1 - abar) * x_t
    q = Normal(posterior, s.posterior_variance[t].view(-1, 1, 1, 1).sqrt())
    p = Normal((x_t - b / (1 - abar).sqrt() * output) / a.sqrt(), b.sqrt())
    # Where noise is least, differences of nearly equal means cost eight digits.
    torch.testing.assert_close(
        elbo.kl(s, output, t, eps), kl_divergence(q, p).flatten(1).mean(1), rtol=1e-8, atol=1e-10
    )


def test_weight_is_the_coefficient_of_the_divergence(diffusion):
    """beta^2 / (2 sigma^2 alpha (1 - abar)) with sigma^2 = beta: the slope of KL in the squared error."""
    s = schedule(diffusion, 17)
    t = torch.arange(1, 1000)
    eps, output = normal(999, 1, 1, 1), normal(999, 1, 1, 1, seed=1)
    rise = elbo.kl(s, output, t, eps) - elbo.kl(s, eps, t, eps)
    torch.testing.assert_close(rise, kl_weight(s, t) * (output - eps).square().flatten(), rtol=1e-7, atol=1e-12)
    coefficient = s.beta**2 / (2 * s.beta * s.alpha * (1 - s.abar))
    torch.testing.assert_close(kl_weight(s, torch.arange(1000)), coefficient, rtol=1e-12, atol=0)


def test_prior_is_a_divergence(diffusion):
    s = schedule(SHORT, 17)
    x0 = normal(4, 1, 2, 3)
    q = Normal(s.abar[-1].sqrt() * x0, (1 - s.abar[-1]).sqrt())
    expected = kl_divergence(q, Normal(torch.tensor(0.0).double(), 1.0)).flatten(1).mean(1)
    torch.testing.assert_close(elbo.prior(s, x0), expected, **CLOSE)
    assert elbo.prior(schedule(diffusion, 17), x0).max() < 1e-3  # a long chain ends in pure noise


@pytest.mark.parametrize("levels", [17, 256])
def test_decoder_gives_the_levels_probabilities_that_sum_to_one(diffusion, levels):
    """Whatever the network says. Without the open ends it is 0.5 where the mean is at the edge."""
    s = schedule(diffusion, levels)
    x0 = torch.linspace(-1, 1, levels, dtype=torch.float64).view(-1, 1, 1, 1)
    zero = torch.zeros(levels, dtype=torch.int64)
    for x in (-1.0, -0.3, 0.11, 1.0, 1.4):
        x_t = torch.full_like(x0, x)
        output = normal(1, 1, 1, 1).expand(x0.shape)
        assert (-elbo.decoder(s, output, x0, x_t, zero)).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_decoder_is_the_mass_of_a_bin(diffusion):
    s = schedule(diffusion, 256)
    x0 = normal(6, 1, 2, 2).clamp(-0.9, 0.9)
    t = torch.zeros(6, dtype=torch.int64)
    x_t, output = add_noise(s.abar, x0, t, normal(6, 1, 2, 2, seed=1)), normal(6, 1, 2, 2, seed=2)
    p = Normal((x_t - s.beta[0].sqrt() * output) / s.alpha[0].sqrt(), s.beta[0].sqrt())  # 1 - abar_0 = beta_0
    mass = p.cdf(x0 + 1 / 255) - p.cdf(x0 - 1 / 255)
    torch.testing.assert_close(elbo.decoder(s, output, x0, x_t, t), -mass.log().flatten(1).mean(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_of_a_small_mass(dtype):
    """Deep in both tails, where differences of the distribution function are 0 and their logarithm is -inf."""
    low = torch.tensor([-2000.0, -40.0, -3.0, -0.4, 0.1, 39.0, 1999.0], dtype=dtype, requires_grad=True)
    found = log_difference(low, low + 1)
    found.sum().backward()
    assert found.isfinite().all()
    assert low.grad.isfinite().all()
    assert (low.grad != 0).all()
    torch.testing.assert_close(log_difference(-low - 1, -low), found)
    middle = Normal(0, 1).cdf(torch.tensor([-2.0, 0.6, 1.1])) - Normal(0, 1).cdf(torch.tensor([-3.0, -0.4, 0.1]))
    torch.testing.assert_close(found[2:5].float(), middle.log(), rtol=1e-5, atol=0)
    # For a < b << 0 the mass is that of the upper end's tail: phi(b) / |b|.
    for place, end in ((1, 39.0), (5, 39.0), (0, 1999.0)):
        tail = -(end**2) / 2 - math.log(end * math.sqrt(2 * math.pi))
        assert found[place].item() == pytest.approx(tail, abs=2e-3 + 1e-6 * end**2)


def chain(s):
    """(mean [T + 1], covariance [T + 1, T + 1]) of (x_0, ..., x_T) under p with the optimal denoiser, in one dim.

    x_T ~ N(0, 1), then x_{t-1} = (x_t - beta / sqrt(1 - abar) eps(x_t)) / sqrt(alpha) + sqrt(beta) z.
    """
    steps = len(s)
    mean, rows = torch.zeros(steps + 1).double(), torch.zeros(steps + 1, steps + 1).double()
    rows[steps, steps] = 1  # x_t - mean_t = rows_t z
    for k in range(steps, 0, -1):  # x_k is what the network meets at t = k - 1
        t = torch.tensor([k - 1])
        eps = [optimal(s, torch.full((1, 1, 1, 1), x).double(), t).item() for x in (0.0, 1.0)]
        gain, shift = eps[1] - eps[0], eps[0]
        factor = s.beta[t] / (1 - s.abar[t]).sqrt()
        mean[k - 1] = (mean[k] - factor * (shift + gain * mean[k])) / s.alpha[t].sqrt()
        rows[k - 1] = (1 - factor * gain) / s.alpha[t].sqrt() * rows[k]
        rows[k - 1, k - 1] += s.beta[t].sqrt().squeeze()
    return mean, rows @ rows.mT


def expected_bound(s, x0):
    """Mean of the estimator over all t and, by quadrature, over eps, for each of x0 [n]: [n]."""
    points, weights = (torch.from_numpy(part) for part in hermegauss(60))
    x, t, eps = torch.meshgrid(x0, torch.arange(len(s)).double(), points, indexing="ij")
    x, t, eps = x.reshape(-1, 1, 1, 1), t.flatten().long(), eps.reshape(-1, 1, 1, 1)
    x_t = add_noise(s.abar, x, t, eps)
    rows = negative_elbo(s, optimal(s, x_t, t), x, x_t, t, eps).view(len(x0), len(s), -1)
    return (rows.mean(1) * weights / weights.sum()).sum(1)


def test_bound_of_the_gaussian_chain():
    """-ELBO = -log p(x_0) + KL(q(x_1..x_T | x_0) || p(x_1..x_T | x_0)), by dense Gaussian algebra.

    With bins so fine that mass = density x width, the error is (width / sigma)^2 / 24 = 1e-10. A wrong constant or
    factor anywhere is off by more than 0.01; without the prior by 0.05.
    """
    s = schedule(SHORT, 300_001)
    mean, covariance = chain(s)
    x0 = MEAN + SPREAD * torch.linspace(-2, 2, 5, dtype=torch.float64)
    found = expected_bound(s, x0)
    for x, bound in zip(x0, found, strict=True):
        density = Normal(mean[0], covariance[0, 0].sqrt()).log_prob(x)
        gain = covariance[1:, 0] / covariance[0, 0]
        p = MultivariateNormal(mean[1:] + gain * (x - mean[0]), covariance[1:, 1:] - gain[:, None] * covariance[0, 1:])
        # Under q, x_t has mean sqrt(abar_t) x and covariances sqrt(abar_t / abar_s) (1 - abar_s) for s <= t.
        ratio = (s.abar[None, :] / s.abar[:, None]).sqrt()  # [s, t]
        upper = (ratio * (1 - s.abar)[:, None]).triu()
        q = MultivariateNormal(s.abar.sqrt() * x, upper + upper.triu(1).mT)
        gap = kl_divergence(q, p)
        assert gap > 0.01
        expected = -(density + math.log(s.bin_width)) + gap
        assert bound.item() == pytest.approx(expected.item(), abs=1e-6)
        assert bound > -(density + math.log(s.bin_width))  # so it bounds -log p


def test_bound_tightens_with_the_chain():
    """Of data from N(MEAN, SPREAD^2): the mean bound approaches the entropy as the chain gets longer, from above."""
    points, weights = (torch.from_numpy(part) for part in hermegauss(3))  # exact: the bound is quadratic in x_0
    gaps = []
    for steps in (25, 100, 400):
        ends = {"beta_start": 0.1 / steps, "beta_end": 20 / steps}
        s = schedule({"timesteps": steps, "beta_schedule": "linear"} | ends, 300_001)
        bound = (expected_bound(s, MEAN + SPREAD * points) * weights).sum() / weights.sum()
        gaps.append(bound - math.log(SPREAD * math.sqrt(2 * math.pi * math.e)) + math.log(s.bin_width))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.1


def test_no_clipping(diffusion):
    """Outputs that predict clean images far outside [-1, 1] still have a gradient in every pixel, at every t."""
    s = schedule(diffusion, 17)
    t = torch.tensor([0, 1, 400, 999])
    x_t, x0 = normal(4, 1, 2, 2), torch.tensor([-1.0, -0.5, 0.75, 1.0]).double().view(1, 1, 2, 2).expand(4, -1, -1, -1)
    output = (8 * normal(4, 1, 2, 2, seed=1).sign()).requires_grad_()
    assert (predicted_clean(s.abar, x_t, t, output)[2:].abs() > 1).all()
    found = negative_elbo(s, output, x0, x_t, t, normal(4, 1, 2, 2, seed=2))
    (gradient,) = torch.autograd.grad(found.sum(), output)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[1:] != 0).all()


def test_predicted_clean_inverts_the_noise(diffusion):
    abar = alphas_cumprod(diffusion).double()
    t, x0, eps = torch.tensor([0, 500, 999]), normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    torch.testing.assert_close(predicted_clean(abar, add_noise(abar, x0, t, eps), t, eps), x0, **CLOSE)
