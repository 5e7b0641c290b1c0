"""The evidence lower bound of an eps-prediction model, negative and per dimension: nats, lower is better.

The generative chain has the steps p(x_{t-1} | x_t) = N(mu_theta, beta_t I) ("fixed large" variance) with
    mu_theta = (x_t - beta_t / sqrt(1 - abar_t) eps_theta) / sqrt(alpha_t)           (Ho et al. 2020, Eq. 11)
and the bound on -log p(x_0) is, with t uniform on 0..T-1,
    E_t[T term_t] + KL(q(x_T | x_0) || N(0, I))                                      (Eq. 5)
    term_t = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))                           t > 0
    term_0 = -log of the mass that N(mu_theta, beta_0 I) gives to the bin of x_0     (Eq. 13)
each divided by the D dimensions. Predicted clean images are not clipped: a clipped pixel would have no gradient. Nor is
the mass of a bin, whose logarithm is computed without ever forming a difference of two numbers near one.

Shape letters: T timesteps, M models, R rows (one noised image each), C H W image, D = C H W.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.special import log_ndtr

from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError


@dataclass(frozen=True)
class Schedule:
    """The chain at each timestep, [T] float64 each, and the width of the bins that the last step distinguishes.

    abar_t is the very number that noise.add_noise uses, alpha_t = abar_t / abar_{t-1}, beta_t = 1 - alpha_t, and
    posterior_variance_t = (1 - abar_{t-1}) / (1 - abar_t) beta_t, with abar_{-1} = 1: that of q(x_{t-1} | x_t, x_0).
    """

    abar: Tensor
    alpha: Tensor
    beta: Tensor
    posterior_variance: Tensor
    bin_width: float

    def __len__(self) -> int:
        return len(self.abar)


def schedule(diffusion: dict[str, Any], levels: int) -> Schedule:
    """Schedule of the config's `diffusion` section for data of `levels` values evenly spaced on [-1, 1].

    The digits have 17 levels (bins of 2/16), 8-bit images 256 (2/255). Raises StudyError for fewer than two.
    """
    if levels < 2:
        raise StudyError(f"levels is {levels}: data have at least two")
    abar = alphas_cumprod(diffusion).double()
    before = torch.cat([abar.new_ones(1), abar[:-1]])
    beta = 1 - abar / before
    return Schedule(abar, 1 - beta, beta, (1 - before) / (1 - abar) * beta, 2 / (levels - 1))


def negative_elbo(schedule: Schedule, output: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """T term_t + prior, [..., R]: its mean over uniform t and over eps is the bound.

    output [..., R, C, H, W]; x0, x_t, eps [R, C, H, W]; t [R].
    """
    first = (t == 0).nonzero().flatten()
    last_step = decoder(schedule, output[..., first, :, :, :], x0[first], x_t[first], t[first])
    term = kl(schedule, output, t, eps).index_copy(-1, first, last_step)  # [..., R]
    return len(schedule) * term + prior(schedule, x0)


def kl_weight(schedule: Schedule, t: Tensor) -> Tensor:
    """beta_t / (2 alpha_t (1 - abar_t)), [R] float64: what multiplies the loss in KL(q || p) per dimension.

    Ho et al. 2020, Eq. 12: beta_t^2 / (2 sigma_t^2 alpha_t (1 - abar_t)), here with sigma_t^2 = beta_t.
    """
    alpha, beta, abar = (table.to(t.device)[t] for table in (schedule.alpha, schedule.beta, schedule.abar))
    return beta / (2 * alpha * (1 - abar))


def kl(schedule: Schedule, output: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) / D, [..., R], for t > 0.

    Of two Gaussians whose variances are in the ratio v = posterior_variance_t / beta_t:
    (v - 1 - log v) / 2 + kl_weight_t mean (eps_theta - eps)^2. At t = 0, where v = 0, it has no meaning.
    """
    ratio = (schedule.posterior_variance / schedule.beta).to(t.device)[t.clamp(min=1)]  # [R]
    constant, weight = (ratio - 1 - ratio.log()) / 2, kl_weight(schedule, t)
    return constant.to(output.dtype) + weight.to(output.dtype) * mean_square(output - eps)


def decoder(schedule: Schedule, output: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """-log of the mass that N(mu_theta(x_t), beta_t I) gives to the bin around x0, per dimension, [..., R].

    The outermost bins reach to infinity: those of values nearer than half a bin to -1 or 1. Images between the levels
    (generated ones) have a bin of the same width around them.
    """
    alpha, beta, abar = (at(table, t, output) for table in (schedule.alpha, schedule.beta, schedule.abar))
    mean = (x_t - beta / (1 - abar).sqrt() * output) / alpha.sqrt()  # [..., R, C, H, W]
    half, sigma = schedule.bin_width / 2, beta.sqrt()
    low, high = (x0 - half - mean) / sigma, (x0 + half - mean) / sigma
    mass = torch.where(x0 > 1 - half, log_ndtr(-low), log_difference(low, high))
    return -torch.where(x0 < half - 1, log_ndtr(high), mass).flatten(-3).mean(-1)


def log_difference(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)) of the standard normal, low < high: finite, with its gradient, far into both tails.

    The interval is reflected to the side where Phi is small: log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b))).
    """
    right = low + high > 0
    a, b = torch.where(right, -high, low), torch.where(right, -low, high)
    larger = log_ndtr(b)
    return larger + (-torch.expm1(log_ndtr(a) - larger)).log()


def prior(schedule: Schedule, x0: Tensor) -> Tensor:
    """KL(q(x_T | x_0) || N(0, I)) / D = (abar_T x0^2 - abar_T - log(1 - abar_T)) / 2, mean over D: [R]."""
    abar = schedule.abar[-1].item()
    return (abar * mean_square(x0) - abar - torch.log1p(-schedule.abar[-1]).item()) / 2


def predicted_clean(abar: Tensor, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
    """x_0 for which `output` is the noise in x_t, unclipped: (x_t - sqrt(1 - abar_t) output) / sqrt(abar_t).

    output [..., R, C, H, W], x_t [R, C, H, W], t [R]; of the true noise it is the clean image itself.
    """
    scale = at(abar, t, output)
    return (x_t - (1 - scale).sqrt() * output) / scale.sqrt()


def mean_square(x: Tensor) -> Tensor:
    """Mean over the image: [..., C, H, W] -> [...]."""
    return x.square().flatten(-3).mean(-1)


def at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Entries of a table [T] at t [...], [..., 1, 1, 1], in the precision of `like`, to multiply images with."""
    return table.to(t.device)[t].to(like.dtype)[..., None, None, None]
