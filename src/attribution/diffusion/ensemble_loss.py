"""The loss of an averaged ensemble as a quadratic form in its members' weights.

With sum_j w_j = 1, sum_j w_j eps_j(x_t) - eps = sum_j w_j r_j, r_j = eps_j(x_t) - eps, so that the loss of example q is
    L_q(w) = E over (t, eps) of (1/D) |sum_j w_j r_j|^2 = w^T G_q w,   G_q[j, k] = E <r_j, r_k> / D.
One M x M matrix an example gives the exact loss of every ablation, without a further pass of any network.

Shape letters: M members, Q examples, E noise draws, C H W image, D = C H W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attribution.core.rng import Name
from attribution.diffusion.ensemble import Stack, predict
from attribution.diffusion.noise import add_noise, draws, tiles


@torch.no_grad()
def residual_products(
    model: nn.Module,
    params: Stack,
    abar: Tensor,
    images: Tensor,
    examples: Sequence[Name],
    *,
    seed: int,
    stream: str,
    count: int,
    batch: int,
) -> Tensor:
    """G [Q, M, M] float64 of images [Q, C, H, W] over their first `count` draws of `stream`, `batch` rows a pass."""
    first = next(iter(params.values()))
    total = first.new_zeros(len(images), len(first), len(first), dtype=torch.float64)
    abar = abar.to(images.dtype)
    for rows, start, stop in tiles(len(images), count, batch):
        t, eps = (
            part.to(first.device)
            for part in draws(seed, stream, examples[rows], start, stop, len(abar), images.shape[1:])
        )
        x0 = images[rows].to(first.device)[:, None].expand(eps.shape).to(images.dtype)
        flat = [part.flatten(0, 1) for part in (add_noise(abar, x0, t, eps.to(x0)), t, eps)]  # [B E, ...]
        residual = predict(model, params, flat[0], flat[1]) - flat[2]  # [M, B E, C, H, W]
        residual = residual.flatten(2).unflatten(1, (-1, stop - start)).double()  # [M, B, E, D]
        total[rows] += torch.einsum("mbed,kbed->bmk", residual, residual) / residual.shape[-1]
    return total / count
