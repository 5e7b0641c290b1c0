"""The forward process and its keyed noise.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   eps ~ N(0, I),   t in {0, ..., T-1}   (Ho et al. 2020, Eq. 4).

Draw e of example k is one pair (t, eps) that depends on (seed, stream, k, e) alone, so every model is measured on the
same pairs, more draws only add pairs, and no batch size changes one. Timesteps are stratified within an example: a
golden-ratio sequence with a random start per example, uniform over 0..T-1 for every prefix length.

Shape letters: B batch, C H W image, E noise draws.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from attribution.core.rng import Name, rng

GOLDEN = (5**0.5 - 1) / 2
NOISE_BLOCK = 50  # draws that share one generator; part of the definition of the noise, not a setting


def alphas_cumprod(diffusion: dict[str, Any]) -> Tensor:
    """abar_t [T], float32, of the diffusers schedule that the config's `diffusion` section names."""
    return DDPMScheduler(
        num_train_timesteps=diffusion["timesteps"],
        beta_schedule=diffusion["beta_schedule"],
        beta_start=diffusion["beta_start"],
        beta_end=diffusion["beta_end"],
    ).alphas_cumprod


def add_noise(abar: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t for x0 and eps [..., C, H, W] and t [...]."""
    scale = abar.to(x0.device)[t][..., None, None, None]  # [..., 1, 1, 1]
    return scale.sqrt() * x0 + (1 - scale).sqrt() * eps


def draws(
    seed: int, stream: str, examples: Sequence[Name], start: int, stop: int, timesteps: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Draws start..stop-1 of each example: t [B, E] int64 and eps [B, E, C, H, W] float32 (shape = C, H, W)."""
    t = np.empty((len(examples), stop - start), dtype=np.int64)
    eps = np.empty((len(examples), stop - start, *shape), dtype=np.float32)
    for i, example in enumerate(examples):
        offset = rng(seed, stream, example, "t").random()
        t[i] = np.floor((offset + np.arange(start, stop) * GOLDEN) % 1.0 * timesteps)
        for block in range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK)):
            first = block * NOISE_BLOCK
            low, high = max(start, first), min(stop, first + NOISE_BLOCK)
            normal = rng(seed, stream, example, "eps", block).standard_normal((high - first, *shape), dtype=np.float32)
            eps[i, low - start : high - start] = normal[low - first :]
    return torch.from_numpy(t), torch.from_numpy(eps)


def tiles(examples: int, draws: int, batch: int) -> Iterator[tuple[slice, int, int]]:
    """Cut examples x draws into tiles of at most `batch` rows: (slice of examples, first draw, last draw + 1)."""
    width = min(draws, batch)
    height = max(1, batch // width)
    for first in range(0, examples, height):
        for start in range(0, draws, width):
            yield slice(first, min(first + height, examples)), start, min(start + width, draws)
