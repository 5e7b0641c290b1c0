"""Fresh rows for every step of a stochastic iteration, as a function of (seed, stream, step) alone.

A step's rows are training examples drawn without replacement (again and again where there are fewer than rows), with
one timestep and noise each. The timesteps of a step form a golden-ratio sequence with a random start: each is uniform,
so that the mean over the rows is unbiased, and together they cover all noise levels, which is where the rows of one
minibatch differ most. No state is kept: a resumed, a split and a distributed iteration meet the same rows.

Shape letters: N examples, R rows, T timesteps, C H W image.
"""

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import rng
from attribution.curvature.rows import Batch
from attribution.diffusion.noise import GOLDEN, add_noise


def fresh(images: Tensor, abar: Tensor, rows: int, *, seed: int, stream: str, step: int) -> Batch:
    """The R = `rows` rows of one step: of images [N, C, H, W], on their device and in their precision; abar [T]."""
    generator = rng(seed, stream, step)
    chosen = torch.from_numpy(np.resize(generator.permutation(len(images)), rows)).to(images.device)
    t = (generator.random() + np.arange(rows) * GOLDEN) % 1.0 * len(abar)
    eps = generator.standard_normal((rows, *images.shape[1:]), dtype=np.float32)
    t, eps = torch.from_numpy(t.astype(np.int64)).to(images.device), torch.from_numpy(eps).to(images)
    return Batch((add_noise(abar.to(images.dtype), images[chosen], t, eps), t), eps, rows, 1)
