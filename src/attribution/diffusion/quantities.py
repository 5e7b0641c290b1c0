"""What is measured on a row, as functions of the network's output: one definition for gradients and for values.

A row is one (example, draw) pair: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps and its timestep t, to which the
network answers f. Every quantity is a badness (lower is better for the example) and a mean over D, and the measurement
of an example is its mean over rows:

    loss              mean (f - eps)^2                                        Ho et al. 2020, Eq. 14
    simplified_elbo   beta_t / (2 alpha_t (1 - abar_t)) loss                  Eq. 12 alone: neither decoder nor prior
    elbo              T term_t + prior, the negative bound in nats per dim    Eq. 5, see elbo.py
    squared_norm      mean f^2                                                Zheng et al. 2024 (D-TRAK)
    l1_norm           mean |f|                                                Zheng et al. 2024
    loss_at_<t>       the loss at one timestep, counted from 0

so d(squared_norm) = (2/D) J^T f and d(loss) = (2/D) J^T (f - eps), J the Jacobian of f in the parameters.
Sources of the set: Mlodozeniec et al. 2025 (measurements), Zheng et al. 2024 (features).

Shape letters: M models, R rows, N Q examples, E noise draws, T timesteps, C H W image, D = C H W.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from attribution.core.rng import Name
from attribution.diffusion import elbo
from attribution.diffusion.elbo import Schedule, mean_square, predicted_clean
from attribution.diffusion.ensemble import Stack, predict
from attribution.diffusion.noise import add_noise, draws, tiles
from attribution.errors import StudyError

QUANTITIES = ("loss", "simplified_elbo", "elbo", "squared_norm", "l1_norm")
AT = "loss_at_"


class Rows(Protocol):
    """What an output gradient reads of a batch (curvature/rows.py): inputs (x_t, t), target eps, R rows each."""

    @property
    def inputs(self) -> tuple[Tensor, ...]: ...
    @property
    def target(self) -> Tensor: ...


def value(quantity: str, schedule: Schedule, output: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The quantity of each row, [..., R]: output [..., R, C, H, W]; x0, x_t, eps [R, C, H, W]; t [R].

    Raises StudyError where the quantity is not known, or is that of one timestep and a row has another.
    """
    only = fixed(quantity)
    if only is not None and (t != only).any():
        raise StudyError(f"quantity {quantity!r} of rows at other timesteps: replace theirs by quantities.timesteps")
    if quantity == "loss" or only is not None:
        return mean_square(output - eps)
    if quantity == "simplified_elbo":
        return elbo.kl_weight(schedule, t).to(output.dtype) * mean_square(output - eps)
    if quantity == "elbo":
        return elbo.negative_elbo(schedule, output, x0, x_t, t, eps)
    if quantity == "squared_norm":
        return mean_square(output)
    return output.abs().flatten(-3).mean(-1)  # l1_norm


def fixed(quantity: str) -> int | None:
    """The timestep of loss_at_<t>, None for a quantity over all timesteps. Raises StudyError for any other name."""
    if quantity in QUANTITIES:
        return None
    number = quantity.removeprefix(AT)
    if not (quantity.startswith(AT) and number.isascii() and number.isdigit()):
        raise StudyError(f"quantity {quantity!r} is not known (allowed: {', '.join(QUANTITIES)}, {AT}<timestep>)")
    return int(number)


def timesteps(quantity: str, t: Tensor, count: int) -> Tensor:
    """The timesteps at which the quantity is measured, of `count` (T), in place of the keyed ones t: same shape.

    Raises StudyError where the quantity is not known, or names a timestep that the chain does not have.
    """
    only = fixed(quantity)
    if only is None:
        return t
    if only >= count:
        raise StudyError(f"quantity {quantity!r}: the timesteps are 0 to {count - 1}")
    return torch.full_like(t, only)


def output_gradient(quantity: str, schedule: Schedule) -> Callable[[Tensor, Rows], Tensor]:
    """d(quantity of a row)/d(its output), as curvature.gradients takes it: (output, batch) -> [R, C, H, W].

    The clean image is that of which the batch's noise makes its x_t. Raises StudyError for an unknown quantity.
    """
    fixed(quantity)

    def gradient(output: Tensor, batch: Rows) -> Tensor:
        x_t, t = batch.inputs
        x0 = predicted_clean(schedule.abar, x_t, t, batch.target)
        return differentiate(lambda f: value(quantity, schedule, f, x0, x_t, t, batch.target), output)

    return gradient


def differentiate(function: Callable[[Tensor], Tensor], output: Tensor) -> Tensor:
    """d(function of a row)/d(the row's output): output [R, C, H, W], of which `function` makes [R] row by row."""
    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]


@torch.no_grad()
def measured(
    quantities: Sequence[str],
    schedule: Schedule,
    model: nn.Module,
    params: Stack,
    images: Tensor,
    examples: Sequence[Name],
    *,
    seed: int,
    stream: str,
    count: int,
    batch: int,
) -> dict[str, Tensor]:
    """Mean of each quantity, [M, Q] float64, of images [Q, C, H, W] over their first `count` draws of `stream`.

    Quantities over all timesteps share one forward pass; loss_at_<t> has one of its own. All models meet the same
    draws. `batch` bounds the noised images in one pass; it changes no number beyond rounding.
    """
    first = next(iter(params.values()))
    total = {name: first.new_zeros(len(first), len(images), dtype=torch.float64) for name in quantities}
    abar = schedule.abar.to(images.dtype)
    passes: dict[int | None, list[str]] = {}  # fixed timestep, or None -> the quantities that see these rows
    for name in quantities:
        passes.setdefault(fixed(name), []).append(name)
    for rows, start, stop in tiles(len(images), count, batch):
        keyed, eps = draws(seed, stream, examples[rows], start, stop, len(schedule), images.shape[1:])
        eps = eps.to(first.device)  # [B, E, C, H, W]
        x0 = images[rows].to(first.device)[:, None].expand(eps.shape)
        for names in passes.values():
            t = timesteps(names[0], keyed, len(schedule)).to(first.device)  # [B, E]
            of_rows = [part.flatten(0, 1) for part in (x0, add_noise(abar, x0, t, eps), t, eps)]  # [B * E, ...]
            output = predict(model, params, of_rows[1], of_rows[2])  # [M, B * E, C, H, W]
            for name in names:
                found = value(name, schedule, output, *of_rows)  # [M, B * E]
                total[name][:, rows] += found.unflatten(1, (-1, stop - start)).sum(2, dtype=torch.float64)
    return {name: sums / count for name, sums in total.items()}
