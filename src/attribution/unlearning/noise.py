"""The randomness of unlearning as a function of the step: which examples are retained, which noise is met.

All queries of a study meet the same retained examples and the same (t, eps) at a step, so that their unlearned models
differ by their query alone, and a query's model is the same in any cohort.

Shape letters: B batch, C H W image.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import Name, rng


def step_noise(
    seed: int, stream: Name, step: int, size: int, timesteps: int, shape: Sequence[int], like: Tensor
) -> tuple[Tensor, Tensor]:
    """t [B], uniform as in training, and eps [B, C, H, W] of one step, on the device and in the precision of `like`."""
    generator = rng(seed, "unlearning", stream, step)
    t = torch.from_numpy(generator.integers(timesteps, size=size))
    eps = torch.from_numpy(generator.standard_normal((size, *shape), dtype=np.float32))
    return t.to(like.device), eps.to(like)


def retained(seed: int, step: int, examples: int, size: int) -> Tensor:
    """The examples [B] of a step: shuffled anew in each epoch, what is left of an epoch is dropped."""
    epoch, place = divmod(step, examples // size)
    return torch.from_numpy(_order(seed, epoch, examples)[place * size : (place + 1) * size])


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, examples: int) -> np.ndarray:
    return rng(seed, "unlearning", "order", epoch).permutation(examples)
