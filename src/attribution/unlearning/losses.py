"""Losses of training examples at a noise bank, for many models at once and example by example.

    loss[m, n, s] = mean over pixels of (eps_theta_m(x_t, t_s) - eps_s)^2,   x_t = sqrt(abar) x_n + sqrt(1 - abar) eps_s
is what both sides of a comparison are made of: the model that is attributed, once for all queries, and the unlearned
ones. Axes are kept apart from the start, row (n, s) of a batch is example n at draw s: a collector that lays images out
by example and noise levels by level gives each example one level, fixed by its place in the batch.

Weights that unlearning left alone are one tensor for all models: what depends on them alone is computed once.

Shape letters: M models, B examples of a batch, S draws, C H W image.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from attribution.core.rng import Name
from attribution.diffusion.ensemble import Stack
from attribution.diffusion.noise import add_noise
from attribution.unlearning.bank import Bank

REFERENCE = "reference"  # names the model that is attributed, where models have noise of their own


def respond(model: nn.Module, frozen: dict[str, Tensor], stack: Stack, x: Tensor, t: Tensor) -> Tensor:
    """Predicted noise [M, R, C, H, W] of models with `frozen` weights [...] in common and those of `stack` [M, ...].

    x is [R, C, H, W] with t [R], the same rows for all models, or [M, R, C, H, W] with t [R] or [M, R].
    """
    run = vmap(
        lambda weights, x, t: functional_call(model, frozen | weights, (x, t)),
        in_dims=(0, 0 if x.dim() == 5 else None, 0 if t.dim() == 2 else None),
    )
    return run(stack, x, t)


def square_error(predicted: Tensor, eps: Tensor) -> Tensor:
    """Mean over pixels of (predicted - eps)^2, [..., C, H, W] -> [...]; the shorter shape is repeated."""
    return (predicted - eps).square().flatten(-3).mean(-1)


@torch.no_grad()
def bank_losses(
    model: nn.Module,
    frozen: dict[str, Tensor],
    stack: Stack,
    names: Sequence[Name],
    images: Tensor,
    examples: Sequence[Name],
    bank: Bank,
    abar: Tensor,
    batch: int,
) -> Iterator[tuple[slice, Tensor]]:
    """(examples, losses [M, B, S]) for successive examples of images [N, C, H, W]: memory does not grow with N.

    names: of the models, examples: of the images; a batch has at most `batch` (model, example, draw) rows, or one
    example.
    """
    models, draws = len(names), len(bank.t)
    t, eps = bank.t.to(images.device), bank.eps.to(images)
    size = max(1, batch // (models * draws))
    for first in range(0, len(images), size):
        rows = slice(first, min(first + size, len(images)))
        x0 = images[rows][:, None]  # [B, 1, C, H, W]
        if bank.shared != "all":
            eps = _own_noise(bank, examples[rows], names).to(images)  # [1 or M, B, S, C, H, W]
        x_t = add_noise(abar, x0, t.expand(len(x0), draws), eps)  # [..., B, S, C, H, W]
        flat = x_t.flatten(-5, -4)  # [..., B S, C, H, W]
        flat = flat[0] if flat.dim() == 5 and len(flat) == 1 else flat
        predicted = respond(model, frozen, stack, flat, t.repeat(len(x0)))  # [M, B S, C, H, W]
        yield rows, square_error(predicted.unflatten(1, (len(x0), draws)), eps)


def _own_noise(bank: Bank, examples: Sequence[Name], models: Sequence[Name]) -> Tensor:
    """Noise [1, B, S, C, H, W] of examples, or [M, B, S, C, H, W] of examples and models."""
    owners = models[:1] if bank.shared == "models" else models
    return torch.from_numpy(np.stack([np.stack([bank.noise(n, m) for n in examples]) for m in owners]))
