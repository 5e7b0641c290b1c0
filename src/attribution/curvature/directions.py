"""Lengths of gradients, and the mean of rows' gradients of which each is scaled to length one.

A loss gradient's length depends strongly on its timestep, so those of long gradients dominate a mean over timesteps.
Diffusion-ReTrac (Xie et al. 2024) gives all timesteps one weight: a gradient is divided by its length before the mean.

Shape letters: R = N E rows, N examples, E draws, O x J shape of a block.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias
from attribution.curvature.gradients import OutputGradient, example_gradients
from attribution.curvature.rows import Batch


def lengths(gradients: dict[str, Tensor]) -> Tensor:
    """L2 norms over all blocks, [N] float64, of gradients [N, O, J] a block."""
    return sum(part.flatten(1).double().square().sum(1) for part in gradients.values()).sqrt()


def mean_directions(
    model: nn.Module, batches: Iterable[Batch], bias: Bias, output_gradient: OutputGradient
) -> dict[str, Tensor]:
    """Mean over draws of g / |g|, [N, O, J] for every block; a row without gradient counts as one of zeros.

    Batches hold the same examples with other draws, as gradients.mean_gradients takes them, but all R rows' gradients
    of one are in memory: let it be small.
    """
    total: dict[str, Tensor] = {}
    draws = 0
    for batch in batches:
        rows = example_gradients(model, replace(batch, examples=batch.rows, draws=1), bias, output_gradient)
        weights = _reciprocal(lengths(rows)).view(batch.examples, batch.draws)  # [N, E]
        for name, gradient in rows.items():
            each = gradient.unflatten(0, weights.shape)  # [N, E, O, J]
            part = torch.einsum("ne,neoj->noj", weights.to(each), each)
            total[name] = total[name].add_(part) if name in total else part
        draws += batch.draws
    return {name: gradient.div_(draws) for name, gradient in total.items()}


def _reciprocal(values: Tensor) -> Tensor:
    """1 / values, 0 where a value is 0."""
    return torch.where(values > 0, 1 / values, torch.zeros_like(values))
