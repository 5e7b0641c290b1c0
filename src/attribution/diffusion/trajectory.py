"""A sample's way from noise to image, and how probable other models find it.

The sampler's steps (DDIM with eta > 0, Song et al. 2021, Eq. 12 and 16; a and b are abar at t and at the next step)
    y_{k+1} = mu_theta(y_k) + sigma_k z_k,   mu_theta(y) = scale_k y - shift_k eps_theta(y, t_k),
    scale = sqrt(b / a),   shift = sqrt(b (1 - a) / a) - sqrt(1 - b - sigma^2),
    sigma^2 = eta^2 (1 - b) / (1 - a) (1 - a / b)
give the stored way y_0 (pure noise), ..., y_K (the image) the log-probability, nats per dimension, higher is better,
    (1/D) [log N(y_0; 0, I) + sum_k log N(y_{k+1}; mu_theta(y_k), sigma_k^2 I)].
(Mlodozeniec et al. 2025, SAMPLING_TRAJECTORY_LOGPROB). With u_k = (scale_k y_k - y_{k+1}) / shift_k, the prediction
that would have led to the next state without noise, a step's term is a loss with a weight of its own:
    -log N / D = log(2 pi sigma_k^2) / 2 + shift_k^2 / (2 sigma_k^2) mean (eps_theta(y_k, t_k) - u_k)^2.

Which steps count. The last one has sigma = 0: it is a point mass, under which any other model's image has probability
zero, and a floor near zero makes it outweigh all others by many orders of magnitude. Where the sampler strides, the one
before it is much the same: at 100 of 1,000 linear steps, t = 10 -> 0 has a sigma of 0.01 and a weight of 10.5, ten
times that of any other, and most of the variance between models. So steps with sigma <= `floor` are left out; the rest
is the exact log-density of the way down to that noise level.

The means are not clipped, whatever the sampler did: clipping would stop the gradient, and one definition serves both.

Shape letters: Q samples, K sampling steps, S counted steps, M models, R rows, C H W image, D = C H W.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution.core.rng import Name
from attribution.diffusion.elbo import mean_square, predicted_clean
from attribution.diffusion.ensemble import Stack, predict
from attribution.diffusion.noise import alphas_cumprod, tiles
from attribution.diffusion.quantities import Rows, differentiate
from attribution.diffusion.sampler import Denoise, ddim, keyed_normal, sample
from attribution.errors import StudyError


@dataclass(frozen=True)
class Trajectory:
    """States [Q, K + 1, C, H, W] from noise to image; the model's outputs [Q, K, C, H, W] at the first K, and t [K]."""

    states: Tensor
    outputs: Tensor
    t: Tensor


@dataclass(frozen=True)
class Steps:
    """The counted steps of a sampler, [S] each: position k in the trajectory, t, scale, shift and sigma (float64)."""

    index: Tensor
    t: Tensor
    scale: Tensor
    shift: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        return len(self.t)


def trajectory(
    denoise: Denoise,
    diffusion: dict[str, Any],
    sampling: dict[str, Any],
    seed: int,
    samples: Sequence[Name],
    shape: Sequence[int],
    device: torch.device,
) -> Trajectory:
    """Every state that sampler.sample passes through on its way to the samples called `samples`, which come last."""
    states, outputs, times = [], [], []

    def noted(x: Tensor, t: Tensor) -> Tensor:
        states.append(x)
        times.append(t[0])
        outputs.append(denoise(x, t))
        return outputs[-1]

    last = sample(noted, diffusion, sampling, seed, samples, shape, device)
    return Trajectory(torch.stack([*states, last], 1), torch.stack(outputs, 1), torch.stack(times))


def inferred(
    denoise: Denoise,
    diffusion: dict[str, Any],
    sampling: dict[str, Any],
    seed: int,
    images: Tensor,
    names: Sequence[Name],
) -> Trajectory:
    """A way to each image [Q, C, H, W] that the model did not sample, drawn from the sampler's inference process.

    y_0 ~ q(x_t | x_0) at the first timestep, then (Song et al. 2021, Eq. 7; a, b, sigma as above)
        y_{k+1} = sqrt(b) x_0 + sqrt(1 - b - sigma^2) (y_k - sqrt(a) x_0) / sqrt(1 - a) + sigma z_k,
    so that y_k ~ q(x_{t_k} | x_0) for every k and y_K = x_0. The noise is keyed by (name, step).
    """
    t, a, b, sigma = _chain(diffusion, sampling)
    shape, device = images.shape[1:], images.device
    x, first = images, float(a[0])
    y = first**0.5 * x + (1 - first) ** 0.5 * keyed_normal(seed, "inferred", names, "x_T", shape).to(device)
    states, outputs = [y], []
    for k, (before, after, spread) in enumerate(zip(a.tolist(), b.tolist(), sigma.tolist(), strict=True)):
        with torch.no_grad():
            outputs.append(denoise(y, t[k].to(device).expand(len(y))))
        noise = (y - before**0.5 * x) / (1 - before) ** 0.5
        y = after**0.5 * x + max(0.0, 1 - after - spread**2) ** 0.5 * noise
        if spread:
            y = y + spread * keyed_normal(seed, "inferred", names, k, shape).to(device)
        states.append(y)
    return Trajectory(torch.stack(states, 1), torch.stack(outputs, 1), t)


def steps(diffusion: dict[str, Any], sampling: dict[str, Any]) -> Steps:
    """The steps of the config's sampler whose sigma is above `sampling.floor` (0: all but the last).

    Raises StudyError where there are none, as with eta = 0: a deterministic sampler gives no densities.
    """
    t, a, b, sigma = _chain(diffusion, sampling)
    scale, shift = (b / a).sqrt(), (b * (1 - a) / a).sqrt() - (1 - b - sigma.square()).clamp(min=0).sqrt()
    index = (sigma > sampling["floor"]).nonzero().flatten()  # [S]
    if not len(index):
        limits = f"eta is {sampling['eta']}, floor {sampling['floor']}"
        raise StudyError(f"no sampling step has noise above sampling.floor ({limits}): trajectories have no density")
    return Steps(index, *(table[index] for table in (t, scale, shift, sigma)))


def _chain(diffusion: dict[str, Any], sampling: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Timestep, abar before and after, and sigma of every sampling step, [K] each, float64."""
    t = ddim(diffusion, sampling).timesteps.cpu()
    a = alphas_cumprod(diffusion).double()[t]
    b = torch.cat([a[1:], a.new_ones(1)])
    return t, a, b, sampling["eta"] * ((1 - b) / (1 - a) * (1 - a / b)).sqrt()


def rows(
    steps: Steps, path: Trajectory, samples: slice = slice(None), picks: slice = slice(None)
) -> tuple[Tensor, Tensor, Tensor]:
    """Network inputs x [R, C, H, W] and t [R], and targets u [R, C, H, W], of some counted steps of some samples.

    Sample-major, as curvature.rows.Batch(inputs=(x, t), target=u, examples=samples, draws=steps) takes them.
    """
    states = path.states[samples]
    k, scale, shift, t = (table[picks].to(states.device) for table in (steps.index, steps.scale, steps.shift, steps.t))
    scale, shift = (table[:, None, None, None] for table in (scale, shift))  # [S, 1, 1, 1]
    x, following = states[:, k], states[:, k + 1]  # [Q, S, C, H, W]
    target = ((scale * x - following) / shift).to(x.dtype)
    return x.flatten(0, 1), t.repeat(len(states)), target.flatten(0, 1)


def value(steps: Steps, output: Tensor, t: Tensor, target: Tensor) -> Tensor:
    """-S log N(next state; mu_theta, sigma^2 I) / D of each row, [..., R]: the mean over a sample's S rows is the sum.

    output [..., R, C, H, W], target u [R, C, H, W], t [R]. Raises StudyError where a t is no counted step.
    """
    same = t[:, None] == steps.t.to(t.device)  # [R, S]
    if not same.any(1).all():
        raise StudyError("a row's timestep is none of the trajectory steps that are counted")
    variance = steps.sigma.to(t.device).square()[same.int().argmax(1)]  # [R]
    shift = steps.shift.to(t.device)[same.int().argmax(1)]
    constant, weight = (2 * math.pi * variance).log() / 2, shift.square() / (2 * variance)
    constant, weight = (len(steps) * part.to(output.dtype) for part in (constant, weight))
    return constant + weight * mean_square(output - target)


def output_gradient(steps: Steps) -> Callable[[Tensor, Rows], Tensor]:
    """d(value of a row)/d(its output), as curvature.gradients takes it, for batches of `rows`."""

    def gradient(output: Tensor, batch: Rows) -> Tensor:
        return differentiate(lambda f: value(steps, f, batch.inputs[1], batch.target), output)

    return gradient


def log_probability(path: Trajectory, values: Tensor) -> Tensor:
    """Log-probability per dimension [..., Q] from the `values` [..., Q, E] of a sample's rows, higher is better."""
    start = -(mean_square(path.states[:, 0]) + math.log(2 * math.pi)) / 2  # [Q] log N(y_0; 0, I) / D
    return start - values.mean(-1)


@torch.no_grad()
def measured(model: nn.Module, params: Stack, steps: Steps, path: Trajectory, batch: int) -> Tensor:
    """Minus the log-probability per dimension that each model gives to each way, [M, Q] float64: lower is better.

    `batch` bounds the rows of one pass.
    """
    first = next(iter(params.values()))
    values = first.new_zeros(len(first), len(path.states), len(steps), dtype=torch.float64)
    for samples, start, stop in tiles(len(path.states), len(steps), batch):
        x, t, target = rows(steps, path, samples, slice(start, stop))
        found = value(steps, predict(model, params, x, t), t, target)  # [M, R]
        values[:, samples, start:stop] = found.unflatten(1, (-1, stop - start)).double()
    return -log_probability(path, values)


def journey(
    path: Trajectory, diffusion: dict[str, Any], samples: Sequence[Name], clip: bool
) -> tuple[Tensor, list[str]]:
    """The clean images that the model predicted on the way, [Q K, C, H, W], and a name for the noise of each.

    Journey-TRAK's query feature of a sample is the mean of the loss gradients at these images, noised anew
    (Georgiev et al. 2023, as Zheng et al. 2024 run it). `clip` cuts them to [-1, 1], as a sampler that clips does:
    without it those of the first steps are far outside.
    """
    q, k = path.outputs.shape[:2]
    x, output = path.states[:, :-1].flatten(0, 1), path.outputs.flatten(0, 1)
    clean = predicted_clean(alphas_cumprod(diffusion), x, path.t.repeat(q).to(x.device), output)
    names = [f"{name}/t{time}" for name in samples for time in path.t.tolist()]
    return (clean.clamp(-1, 1) if clip else clean).view(q * k, *x.shape[1:]), names
