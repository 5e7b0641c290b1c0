"""The forward process and its keyed noise.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   eps ~ N(0, I),   t in {0, ..., T-1}   (Ho et al. 2020, Eq. 4).

Draw e of example k is one pair (t, eps) that depends on (seed, stream, k, e) alone, so every model is measured on the
same pairs, more draws only add pairs, and no batch size changes one. Timesteps are stratified within an example: a
golden-ratio sequence with a random start per example, uniform over 0..T-1 for every prefix length.

Shape letters: B batch, C H W image, E noise draws.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import Name, rng
from attribution.errors import StudyError

GOLDEN = (5**0.5 - 1) / 2
NOISE_BLOCK = 50  # draws that share one generator; part of the definition of the noise, not a setting


def alphas_cumprod(diffusion: dict[str, Any]) -> Tensor:
    """abar_t [T], float32, of the schedule that the config's `diffusion` section names, bit for bit as in diffusers.

    linear: beta_t evenly spaced (Ho et al. 2020); scaled_linear: sqrt(beta_t) evenly spaced (Rombach et al. 2022);
    squaredcos_cap_v2: abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2), beta at most 0.999 (Nichol and Dhariwal 2021).
    Not taken from diffusers because its import takes longer than most jobs compute.
    """
    steps, schedule = diffusion["timesteps"], diffusion["beta_schedule"]
    first, last = diffusion["beta_start"], diffusion["beta_end"]
    if schedule == "linear":
        betas = torch.linspace(first, last, steps, dtype=torch.float32)
    elif schedule == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float32) ** 2
    elif schedule == "squaredcos_cap_v2":
        abar = [math.cos((k / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(steps + 1)]
        betas = torch.tensor([min(1 - after / before, 0.999) for before, after in pairwise(abar)], dtype=torch.float32)
    else:
        raise StudyError(f"diffusion.beta_schedule: {schedule!r} is not known")
    return (1.0 - betas).cumprod(0)


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
