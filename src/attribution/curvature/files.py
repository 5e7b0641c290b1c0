"""Gradients in files: as they are, or in eight bits an entry (quantise.py); reading does not need to know which.

Memory holds a block at a time: all gradients of a part of a training set may be more than a GPU has.

Shape letters: n examples, O x J shape of a block.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attribution.core.store import StoredTensors, save_tensors
from attribution.curvature.quantise import Quantised, quantise, restore
from attribution.errors import StudyError

CODES, LOW, SCALE = "codes/", "low/", "scale/"
PREFIXES = (CODES, LOW, SCALE)


class Gradients(Mapping[str, Tensor]):
    """Gradients [n, O, J] of the blocks of a file, as they were stored, or float32 from eight bits.

    A block is read from the file whenever it is asked for, and not kept.
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        self._stored = StoredTensors(path, str(device))
        codes = [name.removeprefix(CODES) for name in self._stored if name.startswith(CODES)]
        self._coded, self._names = bool(codes), tuple(codes or self._stored)

    def __getitem__(self, name: str) -> Tensor:
        if not self._coded:
            return self._stored[name]
        held = Quantised(*({name: self._stored[f"{prefix}{name}"]} for prefix in PREFIXES))
        return restore(held, torch.float32)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_gradients(path: Path, device: torch.device | str = "cpu") -> Gradients:
    """Gradients [n, O, J] of every block: as they were stored, or float32 from eight bits.

    Raises StudyError naming the file where it is absent, truncated or damaged.
    """
    return Gradients(path, device)


def packed(gradients: Iterable[tuple[str, Tensor]], bits: int) -> dict[str, Tensor]:
    """What a file holds of pairs (block, gradients [n, O, J]) in 32 bits, or in 8, quantised example by example.

    On the CPU; the pairs are taken one by one. Raises StudyError for other numbers of bits.
    """
    if bits not in (8, 32):
        raise StudyError(f"gradients are stored in 8 or 32 bits, not in {bits}")
    found: dict[str, Tensor] = {}
    for name, G in gradients:
        if bits == 32:
            found[name] = G.cpu()
            continue
        held = quantise({name: G}, "example")
        for prefix, part in zip(PREFIXES, (held.codes, held.low, held.scale), strict=True):
            found[f"{prefix}{name}"] = part[name].cpu()
    return found


def save_packed(path: Path, parts: Sequence[dict[str, Tensor]], meta: Mapping[str, Any] | None = None) -> None:
    """Write what `packed` made of successive examples. The parts are emptied, so that one tensor is there twice."""
    save_tensors(path, {name: torch.cat([part.pop(name) for part in parts]) for name in list(parts[0])}, meta)
