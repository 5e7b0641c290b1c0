"""What the evaluation steps read: retrained models' losses with the subsets they saw, put together from all cohorts.

Standard library and NumPy: evaluation jobs start in a fraction of a second.

Shape letters: R replicates, S subsets, N training examples, Q queries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_meta, load_tensors
from attribution.design.subsets import masks
from attribution.errors import StudyError


@dataclass(frozen=True)
class Retrained:
    """numbers [S] of the subsets, masks [S, N] of who was in, outcomes [R, S, Q] measured losses."""

    numbers: np.ndarray
    masks: np.ndarray
    outcomes: np.ndarray


def retrained(subsets: list[Path], losses: list[Path], examples: int, target: str) -> Retrained:
    """Collect cohorts (files in the same order); the outcome is `target`, one of the measured quantities.

    Raises StudyError where a replicate lacks a subset that another has.
    """
    return retrained_for(subsets, losses, examples, (target,))[target]


def retrained_for(
    subsets: list[Path], losses: list[Path], examples: int, targets: Iterable[str]
) -> dict[str, Retrained]:
    """Target -> what `retrained` gives for it; every file is read once."""
    targets = tuple(targets)
    members: dict[int, np.ndarray] = {}
    measured: dict[int, dict[int, np.ndarray]] = {}  # replicate -> subset -> [targets, Q]
    for subset_path, loss_path in zip(subsets, losses, strict=True):
        design, replicate = load_tensors(subset_path), load_meta(subset_path)["replicate"]
        found = load_tensors(loss_path)
        if absent := [target for target in targets if target not in found]:
            raise StudyError(f"{loss_path}: holds no {absent[0]} (measured: {', '.join(sorted(found))})")
        loss = np.stack([found[target] for target in targets], 1)
        if len(loss) != len(design["number"]):
            raise StudyError(f"{loss_path}: {len(loss)} models, {subset_path} has {len(design['number'])} subsets")
        for number, rows, values in zip(design["number"].tolist(), design["members"], loss, strict=True):
            members[number] = rows
            measured.setdefault(replicate, {})[number] = values
    if not measured:
        raise StudyError("no retrained models: design.subsets and design.replicates must be positive")
    numbers = sorted(members)
    for replicate, of_subset in measured.items():
        if missing := sorted(set(numbers) - set(of_subset)):
            raise StudyError(f"replicate {replicate} lacks the subsets {missing}")
    outcomes = np.stack([np.stack([measured[r][s] for s in numbers]) for r in sorted(measured)])  # [R, S, targets, Q]
    inside = masks((members[s] for s in numbers), examples)
    return {target: Retrained(np.array(numbers), inside, outcomes[:, :, place]) for place, target in enumerate(targets)}


def layer_of(scored: dict[str, np.ndarray], entry: dict) -> int:
    """Position of the damping that the LDS record of a query kind chose, in scores [L, Q, N]; 0 without dampings."""
    damping = entry["selected_damping"]
    return 0 if damping is None else layer_at(scored, damping)


def layer_at(scored: dict[str, np.ndarray], damping: float) -> int:
    """Position of a damping of the grid in scores [L, Q, N]."""
    return int(np.argmin(np.abs(scored["dampings"] - damping)))


def has_units(settings: dict[str, Any]) -> bool:
    """Whether a method's scores, over N, are changes of what it measures: influence with a curvature of its own."""
    return "curvature" in settings or "fisher" in settings


def query_kinds(path: Path) -> np.ndarray:
    """Kind of each query, [Q] of str."""
    return np.array(load_meta(path)["kinds"])[load_tensors(path)["kind"]]
