"""The noise bank: S pairs (t_s, eps_s) at which losses before and after unlearning are compared.

Noise-consistent means (Serrà et al. 2026, MUCS): one bank, drawn once, is met by the model that is attributed, by every
unlearned model, for every query and every training example. Who shares the noise is a setting, so that the claim can be
tested: `all` of them (MUCS), the two `models` of a comparison while examples differ (Wang et al. 2024, AbU), or `none`.

Timesteps are a grid of int(S / fraction) levels of which the S noisiest are kept:
    uniform  evenly spaced timesteps, T-1 down to 0: the levels of training, and of a sampler's even steps
    karras   sigma_i = (80^(1/7) + i / (n-1) (0.002^(1/7) - 80^(1/7)))^7, the schedule of Karras et al. 2022 that MUCS
             takes, each at the timestep whose noise-to-signal ratio sqrt((1 - abar) / abar) is nearest in logarithm
    random   drawn uniformly: the training distribution itself
Draws are put in an order in which every prefix covers the grid evenly, so a pass may stop early.

Shape letters: S draws, B examples, M models, T timesteps, C H W image.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import Name, rng
from attribution.errors import StudyError

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7.0  # Karras et al. 2022, Table 1
SHARED = ("all", "models", "none")


@dataclass(frozen=True)
class Bank:
    """Timesteps t [S], and, where all share it, the noise eps [S, C, H, W]; else it is drawn by example and model."""

    seed: int
    name: str
    shared: str
    t: Tensor
    eps: Tensor

    def noise(self, example: Name, model: Name) -> np.ndarray:
        """The noise [S, C, H, W] of one example's comparison, for a bank that examples do not share."""
        names = (example,) if self.shared == "models" else (example, model)
        shape = self.eps.shape
        return rng(self.seed, "bank", self.name, self.shared, *names).standard_normal(shape, dtype=np.float32)

    def digest(self) -> str:
        """SHA-256 of what the bank holds and of who shares it: equal digests, equal noise."""
        text = hashlib.sha256(f"{self.seed} {self.name} {self.shared}".encode())
        for part in (self.t, self.eps):
            text.update(part.cpu().numpy().tobytes())
        return text.hexdigest()


def draw(seed: int, name: str, settings: dict[str, Any], abar: Tensor, shape: Sequence[int]) -> Bank:
    """The bank of the config's `unlearning.banks` entry called `name`, for images of `shape` C, H, W.

    Raises StudyError for an unknown grid or sharing.
    """
    draws, grid, shared = settings["draws"], settings["grid"], settings["shared"]
    if shared not in SHARED:
        raise StudyError(f"unlearning.banks.{name}.shared: {shared!r} is not known (allowed: {', '.join(SHARED)})")
    stream = rng(seed, "bank", name)
    if grid == "random":
        t = stream.integers(len(abar), size=draws)
    elif grid == "uniform":
        t = np.linspace(len(abar) - 1, 0, levels(draws, settings["fraction"])).round().astype(np.int64)[:draws]
    elif grid == "karras":
        t = nearest(karras(levels(draws, settings["fraction"]))[:draws], abar)
    else:
        raise StudyError(f"unlearning.banks.{name}.grid: {grid!r} is not known (allowed: uniform, karras, random)")
    eps = stream.standard_normal((draws, *shape), dtype=np.float32)
    return Bank(seed, name, shared, torch.from_numpy(t[even_order(draws)]), torch.from_numpy(eps))


def levels(draws: int, fraction: float) -> int:
    """int(S / fraction), the levels of the whole grid; a rounding error below a whole number does not lose one."""
    return max(draws, int(draws / fraction + 1e-9))


def karras(count: int) -> np.ndarray:
    """Noise levels [count], decreasing from SIGMA_MAX to SIGMA_MIN."""
    ramp = np.arange(count) / max(1, count - 1)
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return (high + ramp * (low - high)) ** RHO


def nearest(sigma: np.ndarray, abar: Tensor) -> np.ndarray:
    """Timesteps whose sqrt((1 - abar) / abar) is nearest to each sigma in logarithm, int64 of sigma's shape."""
    kept = abar.double().numpy()
    return np.abs(np.log(sigma)[:, None] - 0.5 * np.log((1 - kept) / kept)).argmin(1)


def even_order(count: int) -> np.ndarray:
    """A permutation of 0..count-1 in which each prefix is spread evenly: van der Corput's, base 2 (stable ties)."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
    return np.array([number for number in reversed_bits if number < count], dtype=np.int64)
