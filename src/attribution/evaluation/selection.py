"""Choose the damping on one half of the subsets, report on the other, and the other way round.

Damping tuned on the very models that score it makes every tuned number optimistic. Here the subsets are split once by
the stream rng(seed, "halves"): even places of a permutation of the subset numbers select, odd places report. For each
method and query kind the damping with the best mean score on the selection half is taken and scored on the reporting
half; then the halves change places. The mean of the two scores is the tuned number (evaluate.py): every subset is
reported on once, never at a damping that it helped to choose.

Shape letters: L dampings, N training examples, Q queries, R training replicates, S subsets.
"""

from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import correlations, mean
from attribution.evaluation.lds import group_prediction, mean_outcome

KINDS = ("generated", "heldout", "training")  # a code c in a `kinds` array means KINDS[c]
NO_CHOICE = {"position": 0, "damping": None, "at_edge": None}  # of a method without dampings


def halves(subsets: int, seed: int) -> dict[str, list[int]]:
    """{"selection": [...], "reporting": [...]}: subset numbers of each half, ascending.

    With an odd number the selection half has one more. Raises StudyError for fewer than 8 subsets: the interval of a
    half's correlation needs 4.
    """
    if subsets < 8:
        raise StudyError(f"choosing on one half and reporting on the other needs 8 subsets or more, got {subsets}")
    order = rng(seed, "halves").permutation(subsets)
    return {
        "selection": sorted(int(s) for s in order[0::2]),
        "reporting": sorted(int(s) for s in order[1::2]),
    }


def by_kind(kinds: np.ndarray, queries: int) -> dict[str, np.ndarray]:
    """Query kind -> positions of its queries, in the order of KINDS.

    kinds: [Q] names, or integer codes into KINDS. Raises StudyError for an unknown kind or a wrong length.
    """
    kinds = np.asarray(kinds)
    if kinds.shape != (queries,):
        raise StudyError(f"kinds must name all {queries} queries, got {list(kinds.shape)}")
    if np.issubdtype(kinds.dtype, np.integer):
        unknown = sorted(set(kinds.tolist()) - set(range(len(KINDS))))
        names = np.array([KINDS[c] if c not in unknown else "" for c in kinds.tolist()])
    else:
        names = kinds.astype(str)
        unknown = sorted(set(names.tolist()) - set(KINDS))
    if unknown:
        raise StudyError(f"unknown query kind {unknown[0]}: kinds are {', '.join(KINDS)}")
    return {kind: np.flatnonzero(names == kind) for kind in KINDS if (names == kind).any()}


def sweep(
    predictions: np.ndarray, measured: np.ndarray, split: dict[str, list[int]], dampings: list[float]
) -> list[dict[str, float]]:
    """Mean score over the queries of every damping on both halves: [{damping, selection, reporting}], one kind.

    predictions: [L, S, Q]; measured: [S, Q].
    """
    return [
        {
            "damping": damping,
            **{half: mean(correlations(prediction[rows], measured[rows])) for half, rows in split.items()},
        }
        for damping, prediction in zip(dampings, predictions, strict=True)
    ]


def select(curve: list[dict[str, float]]) -> dict[str, Any]:
    """Position and value of the damping that does best on the selection half, and whether it ends the grid.

    The reporting half is not looked at. At the end of the grid a better damping may lie outside it. Equal scores: the
    first of the grid.
    """
    best = int(np.argmax([point["selection"] for point in curve]))
    dampings = [point["damping"] for point in curve]
    return {
        "position": best,
        "damping": dampings[best],
        "at_edge": len(curve) > 1 and dampings[best] in (min(dampings), max(dampings)),
    }


def choose(
    predictions: np.ndarray, measured: np.ndarray, split: dict[str, list[int]], dampings: list[float]
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The choice (`select`) of one kind and the curve (`sweep`) it was made on; NO_CHOICE and [] without dampings."""
    if not dampings:
        return NO_CHOICE, []
    curve = sweep(predictions, measured, split, dampings)
    return select(curve), curve


def chosen_layers(
    scores: np.ndarray, dampings: list[float], masks: np.ndarray, outcomes: np.ndarray, kinds: np.ndarray, seed: int
) -> dict[str, int]:
    """Query kind -> position of the damping chosen on the selection half, what evaluate calls selected_damping.

    scores: [L, Q, N]; dampings: L of them, or none; masks: [S, N] bool; outcomes: [R, S, Q]; kinds: [Q]. Neither the
    intervals' settings nor the reporting half have a say.
    """
    measured = mean_outcome(outcomes)  # [S, Q]
    predictions = np.stack([group_prediction(masks, layer) for layer in scores])  # [L, S, Q]
    split = halves(len(measured), seed)
    return {
        kind: choose(predictions[:, :, queries], measured[:, queries], split, dampings)[0]["position"]
        for kind, queries in by_kind(kinds, measured.shape[1]).items()
    }
