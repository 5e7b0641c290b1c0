"""What is measured on a trained model: the eps-prediction loss of an example.

l(theta, x) = E_{t, eps} (1/D) || eps - eps_theta(x_t, t) ||^2, estimated on the keyed draws of `noise.draws`
(Mlodozeniec et al. 2025, the measurement LOSS: mean over dimensions, no augmentation).

Shape letters: M models, B Q examples, E noise draws, C H W image, D = C H W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attribution.core.rng import Name
from attribution.diffusion.ensemble import Stack, predict
from attribution.diffusion.noise import add_noise, draws, tiles


def example_loss(model: nn.Module, params: Stack, abar: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Loss of each draw, [M, B, E]: examples x0 [B, C, H, W], draws t [B, E] and eps [B, E, C, H, W]."""
    x_t = add_noise(abar, x0[:, None], t, eps).flatten(0, 1)  # [B * E, C, H, W]
    predicted = predict(model, params, x_t, t.flatten())  # [M, B * E, C, H, W]
    squared = (predicted - eps.flatten(0, 1)).square().flatten(2).mean(2)  # [M, B * E]
    return squared.view(-1, *t.shape)


@torch.no_grad()
def measured_loss(
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
    """Mean loss [M, Q] of images [Q, C, H, W] over their first `count` draws of `stream`, on the stack's device.

    `batch` bounds the noised images in one forward pass; it changes no number beyond rounding.
    """
    first = next(iter(params.values()))
    total = torch.zeros(len(first), len(images), dtype=torch.float64, device=first.device)
    for rows, start, stop in tiles(len(images), count, batch):
        t, eps = draws(seed, stream, examples[rows], start, stop, len(abar), images.shape[1:])
        x0 = images[rows].to(first.device)
        loss = example_loss(model, params, abar, x0, t.to(first.device), eps.to(first.device))  # [M, B, E]
        total[:, rows] += loss.sum(2, dtype=torch.float64)
    return total / count
