"""Gradients in eight bits: a quarter of the memory, with a known bound on every entry's error.

An affine map of a tensor's range to 0..255: scale = (max - min) / 255, code = round((x - min) / scale), and back
x^ = min + scale code, so that |x - x^| <= scale / 2. A tensor is one block of one example ("example"), which is how
gradients are compressed one at a time and does not depend on which are stored together, or a whole block of all
examples ("tensor"), whose scale is that of the largest example.
A constant tensor has scale 0 and comes back as it was. The arithmetic is float64, so that the bound holds to its
rounding, 1e-16 of the tensor's largest number; `restore` to a smaller precision adds that precision's own rounding.
Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference" (affine maps); Mlodozeniec et al. 2025 (eight bits for the gradients of queries).

Shape letters: n examples, O x J shape of a block.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attribution.errors import StudyError

Per = Literal["example", "tensor"]
LEVELS = 255  # of eight bits


@dataclass(frozen=True)
class Quantised:
    """Of every block: codes [n, O, J] uint8, and minimum and scale [n, 1, 1] ("example") or [1, 1, 1], float64."""

    codes: dict[str, Tensor]
    low: dict[str, Tensor]
    scale: dict[str, Tensor]


def quantise(gradients: dict[str, Tensor], per: Per) -> Quantised:
    """Codes of gradients [n, O, J] a block; StudyError for an unknown `per`, and where a gradient is not finite."""
    if per not in ("example", "tensor"):
        raise StudyError(f"gradients are quantised per {per!r}: choose example or tensor")
    held = Quantised({}, {}, {})
    for name, G in gradients.items():
        held.codes[name], held.low[name], held.scale[name] = _encode(name, G, (1, 2) if per == "example" else (0, 1, 2))
    return held


def restore(held: Quantised, dtype: torch.dtype) -> dict[str, Tensor]:
    """x^ = min + scale code, [n, O, J] a block: computed in float64, then rounded to `dtype`."""
    return {name: (held.low[name] + held.scale[name] * codes).to(dtype) for name, codes in held.codes.items()}


def round_trip(gradients: dict[str, Tensor], per: Per = "example") -> dict[str, Tensor]:
    """Gradients [n, O, J] a block as they come back from eight bits, in their own precision; quantise's errors.

    One block's codes are in memory at a time.
    """
    return {name: restore(quantise({name: G}, per), G.dtype)[name] for name, G in gradients.items()}


def _encode(name: str, G: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    if not G.isfinite().all():
        raise StudyError(f"a gradient of block {name!r} is not finite: it has no range to quantise")
    low, high = (extreme(dims, keepdim=True).double() for extreme in (G.amin, G.amax))
    scale = (high - low) / LEVELS
    if not scale.isfinite().all():
        raise StudyError(f"the range of block {name!r} overflows: its gradients cannot be quantised")
    steps = (G.double() - low) / torch.where(scale > 0, scale, 1.0)  # a constant: 0 steps
    return steps.round_().clamp_(0, LEVELS).to(torch.uint8), low, scale
