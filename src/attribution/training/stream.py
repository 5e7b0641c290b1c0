"""The randomness of training as a function of (stream, step): which batch positions, which t, which eps.

Models that share a stream are trained under common random numbers: the same initial weights, the same shuffled
positions and the same (t, eps) at each position; they differ only in which image stands at a position of their
subset. Since a step's randomness depends on its number alone, resuming needs no generator state.

Shape letters: B batch, C H W image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import Name, rng


@dataclass(frozen=True)
class Stream:
    """A named stream of training randomness, e.g. ("crn", 0), shared, or ("own", 0, 17), one model's own."""

    seed: int
    names: tuple[Name, ...]


def batch(
    stream: Stream, step: int, examples: int, size: int, timesteps: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions [B] in 0..examples-1, t [B] and eps [B, C, H, W] of one step (batches of an epoch do not overlap)."""
    per_epoch = examples // size
    epoch, place = divmod(step, per_epoch)
    positions = _order(stream, epoch, examples)[place * size : (place + 1) * size]
    generator = rng(stream.seed, "train", *stream.names, step)
    t = generator.integers(timesteps, size=size)
    eps = generator.standard_normal((size, *shape), dtype=np.float32)
    return torch.from_numpy(positions), torch.from_numpy(t), torch.from_numpy(eps)


@lru_cache(maxsize=256)
def _order(stream: Stream, epoch: int, examples: int) -> np.ndarray:
    """The shuffled positions of one epoch, [examples]."""
    return rng(stream.seed, "order", *stream.names, epoch).permutation(examples)
