"""What the evaluation steps read: retrained models' losses with the subsets they saw, put together from all cohorts.

Standard library and NumPy: evaluation jobs start in a fraction of a second.

Shape letters: R replicates, S subsets, N training examples, Q queries.
"""

from dataclasses import dataclass
from pathlib import Path

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
    members: dict[int, np.ndarray] = {}
    measured: dict[int, dict[int, np.ndarray]] = {}
    for subset_path, loss_path in zip(subsets, losses, strict=True):
        design, replicate = load_tensors(subset_path), load_meta(subset_path)["replicate"]
        loss = load_tensors(loss_path)[target]
        if len(loss) != len(design["number"]):
            raise StudyError(f"{loss_path}: {len(loss)} models, {subset_path} has {len(design['number'])} subsets")
        for number, rows, values in zip(design["number"].tolist(), design["members"], loss, strict=True):
            members[number] = rows
            measured.setdefault(replicate, {})[number] = values
    if not measured:
        raise StudyError("no retrained models: design.subsets and design.replicates must be positive")
    numbers = sorted(members)
    for replicate, found in measured.items():
        if missing := sorted(set(numbers) - set(found)):
            raise StudyError(f"replicate {replicate} lacks the subsets {missing}")
    outcomes = np.stack([np.stack([measured[r][s] for s in numbers]) for r in sorted(measured)])
    return Retrained(np.array(numbers), masks((members[s] for s in numbers), examples), outcomes)


def layer_of(scored: dict[str, np.ndarray], entry: dict) -> int:
    """Position of the damping that the LDS record of a query kind chose, in scores [L, Q, N]; 0 without dampings."""
    damping = entry["selected_damping"]
    return 0 if damping is None else int(np.argmin(np.abs(scored["dampings"] - damping)))


def query_kinds(path: Path) -> np.ndarray:
    """Kind of each query, [Q] of str."""
    return np.array(load_meta(path)["kinds"])[load_tensors(path)["kind"]]
