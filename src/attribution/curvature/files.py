"""Gradients in files: as they are, or in eight bits an entry (quantise.py); reading does not need to know which.

Shape letters: n examples, O x J shape of a block.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attribution.core.store import load_tensors, save_tensors
from attribution.curvature.quantise import Quantised, quantise, restore
from attribution.errors import StudyError

CODES, LOW, SCALE = "codes/", "low/", "scale/"


def save_gradients(path: Path, gradients: dict[str, Tensor], bits: int, meta: Mapping[str, Any] | None = None) -> None:
    """Write gradients [n, O, J] a block in 32 bits, or in 8, quantised example by example; StudyError otherwise."""
    if bits not in (8, 32):
        raise StudyError(f"gradients are stored in 8 or 32 bits, not in {bits}")
    if bits == 32:
        return save_tensors(path, gradients, meta)
    held = quantise(gradients, "example")
    save_tensors(
        path,
        {f"{CODES}{name}": codes for name, codes in held.codes.items()}
        | {f"{LOW}{name}": low for name, low in held.low.items()}
        | {f"{SCALE}{name}": scale for name, scale in held.scale.items()},
        meta,
    )


def load_gradients(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Gradients [n, O, J] of every block: as they were stored, or float32 from eight bits.

    Raises StudyError naming the file where it is absent, truncated or damaged.
    """
    tensors = load_tensors(path, "pt", str(device))
    if not any(name.startswith(CODES) for name in tensors):
        return tensors
    codes, low, scale = (
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in (CODES, LOW, SCALE)
    )
    return restore(Quantised(codes, low, scale), torch.float32)
