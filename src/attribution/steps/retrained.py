"""What the evaluation steps read: retrained models' losses with the subsets they saw, scores' layers, queries' kinds.

Standard library and NumPy: evaluation jobs start in a fraction of a second.

Shape letters: R replicates, S subsets, N training examples, L layers (dampings), Q queries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_json, load_meta, load_tensors
from attribution.design.subsets import masks
from attribution.errors import StudyError

MEASURED = "measured."  # what the names of measured quantities begin with, in files of outcomes


@dataclass(frozen=True)
class Retrained:
    """numbers [S] of the subsets, masks [S, N] of who was in, outcomes [R, S, Q] measured losses."""

    numbers: np.ndarray
    masks: np.ndarray
    outcomes: np.ndarray


def retrained(path: Path, examples: int, target: str) -> Retrained:
    """The outcome is `target`, one of the measured quantities. Raises StudyError where it was not measured."""
    return retrained_for(path, examples, (target,))[target]


def retrained_for(path: Path, examples: int, targets: Iterable[str]) -> dict[str, Retrained]:
    """Target -> what `retrained` gives for it, of what the step `outcomes` wrote; N is the number of `examples`."""
    found = load_tensors(path)
    measured = {name.removeprefix(MEASURED): values for name, values in found.items() if name.startswith(MEASURED)}
    targets = tuple(targets)
    if absent := [target for target in targets if target not in measured]:
        raise StudyError(f"{path}: holds no {absent[0]} (measured: {', '.join(sorted(measured))})")
    inside = masks(found["members"], examples)
    return {target: Retrained(found["number"], inside, measured[target]) for target in targets}


def layer_of(scored: dict[str, np.ndarray], entry: dict) -> int:
    """Position of the damping that the LDS record of a query kind chose, in scores [L, Q, N]; 0 without dampings."""
    damping = entry["selected_damping"]
    return 0 if damping is None else layer_at(scored, damping)


def layer_at(scored: dict[str, np.ndarray], damping: float) -> int:
    """Position of a damping of the grid in scores [L, Q, N]."""
    return int(np.argmin(np.abs(scored["dampings"] - damping)))


def ranked(scores: Path, lds: Path, kinds: np.ndarray) -> dict[str, np.ndarray]:
    """Kind -> scores [Qk, N] of its queries at the damping chosen for it; kinds [Q] with two queries or more."""
    scored, chosen = load_tensors(scores), load_json(lds)["kinds"]
    rows_of = {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds.tolist())}
    return {
        kind: scored["scores"][layer_of(scored, chosen[kind]), rows] for kind, rows in rows_of.items() if len(rows) > 1
    }


def has_units(settings: dict[str, Any]) -> bool:
    """Whether a method's scores, over N, are changes of what it measures: influence with a curvature of its own."""
    return not settings.keys().isdisjoint(("curvature", "fisher", "learning_rate"))  # named, sampled, or solved with


def query_kinds(path: Path) -> np.ndarray:
    """Kind of each query, [Q] of str."""
    return np.array(load_meta(path)["kinds"])[load_tensors(path)["kind"]]
