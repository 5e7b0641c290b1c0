"""One method's scores against the retrained models: what the evaluation step computes and saves.

Puts together group predictions (lds), the split of the subsets and the choice of damping (selection), and correlations
with their intervals (intervals), for each query kind on its own. Every reported score is the mean of those on the two
halves of the subsets, for methods without a damping too: all methods meet on the same subsets and queries.

Shape letters: L dampings, N training examples, Q queries, R training replicates, S subsets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation.intervals import interval, mean, of_halves
from attribution.evaluation.lds import group_prediction, mean_outcome
from attribution.evaluation.selection import NO_CHOICE, by_kind, choose, halves


def evaluate(
    scores: np.ndarray,
    dampings: np.ndarray | None,
    default_damping: float | None,
    masks: np.ndarray,
    outcomes: np.ndarray,
    kinds: np.ndarray,
    seed: int,
    coverage: float,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score of one method for every query kind: a JSON record and the arrays that go with it.

    scores: [L, Q, N] with dampings [L] and the default among them, or [Q, N] with neither; masks: [S, N] bool;
    outcomes: [R, S, Q] measured loss; kinds: [Q] names or codes (selection.by_kind).

    Record: {"kinds": {kind: {lds, interval, n: {queries, subsets}, selected_damping, other_damping, at_edge, default,
    least, sweep: [{damping, selection, reporting}]}}, "halves": {selection, reporting}}: the damping chosen on one half
    and reported on the other, both ways round, scores averaged. selected_damping is the choice of the selection half,
    as is the sweep; other_damping that of the reporting half. default and least are {damping, lds, interval} of the
    configured damping and of the smallest on the grid. Without dampings the last six are null, and the sweep [].
    Arrays: `prediction` [S, Q] at the selected dampings, `per_query` [Q], and `spread_<kind>` [1 + S, Qk] of its
    queries (intervals.py); with dampings also `per_query_default`, `per_query_least`, `spread_default_<kind>` and
    `spread_least_<kind>`.

    Raises StudyError where shapes disagree, a value is NaN, a correlation is undefined, or the default damping is not
    on the grid.
    """
    return evaluate_targets(scores, dampings, default_damping, masks, {"loss": outcomes}, kinds, seed, coverage)["loss"]


def evaluate_targets(
    scores: np.ndarray,
    dampings: np.ndarray | None,
    default_damping: float | None,
    masks: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    kinds: np.ndarray,
    seed: int,
    coverage: float,
) -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Target -> what `evaluate` gives for its outcomes [R, S, Q]: groups are predicted once, judged by each target.

    Every target is judged on the same halves.
    """
    scores, dampings, default = _grid(np.asarray(scores), dampings, default_damping)
    predictions = np.stack([group_prediction(masks, layer) for layer in scores])  # [L, S, Q]
    return {
        target: _judge(predictions, dampings, default, mean_outcome(measured), kinds, seed, coverage)
        for target, measured in outcomes.items()
    }


def evaluate_cross_fitted(
    scores: np.ndarray,
    masks: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    kinds: np.ndarray,
    seed: int,
    coverage: float,
) -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """The same of scores [2, Q, N] that learned anything else from retrained models, layer 0 from the selection half
    and layer 1 from the reporting half: neither is judged by models that it was fitted to.
    """
    if len(scores) != 2:
        raise StudyError(f"scores fitted to halves of the subsets must be [2, Q, N], got {list(scores.shape)}")
    predictions = np.stack([group_prediction(masks, layer) for layer in scores])  # [2, S, Q]
    return {
        target: _judge(predictions, None, 0, mean_outcome(measured), kinds, seed, coverage)
        for target, measured in outcomes.items()
    }


def _judge(
    predictions: np.ndarray,
    dampings: list[float] | None,
    default: int,
    measured: np.ndarray,
    kinds: np.ndarray,
    seed: int,
    coverage: float,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """predictions [L, S, Q] against the measured values [S, Q]; default: its position among the dampings.

    Without a list of them predictions [2, S, Q] are fitted to the halves, and each is the choice of its own.
    """
    if predictions.shape[1:] != measured.shape:
        raise StudyError(
            f"masks and scores give {list(predictions.shape[1:])} predictions [S, Q], outcomes {list(measured.shape)}"
        )
    split = halves(len(measured), seed)
    ways = [split, {"selection": split["reporting"], "reporting": split["selection"]}]
    fixed = {"default": default, "least": int(np.argmin(dampings))} if dampings else {}
    record: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {"prediction": np.empty(measured.shape)}
    arrays |= {name: np.empty(measured.shape[1]) for name in ("per_query", *(f"per_query_{name}" for name in fixed))}
    for kind, queries in by_kind(kinds, measured.shape[1]).items():
        part, truth = predictions[:, :, queries], measured[:, queries]  # [L, S, Qk], [S, Qk]
        if dampings is None:
            chosen, curves = [NO_CHOICE | {"position": layer} for layer in (0, 1)], [[]]
        else:
            chosen, curves = zip(*(choose(part, truth, way, dampings) for way in ways), strict=True)
        rows = [way["reporting"] for way in ways]
        tuned, spread = _score([part[choice["position"]] for choice in chosen], truth, rows, coverage)
        arrays["per_query"][queries], arrays[f"spread_{kind}"] = spread[0], spread
        arrays["prediction"][:, queries] = part[chosen[0]["position"]]
        untuned: dict[str, Any] = {"default": None, "least": None}
        for name, layer in fixed.items():
            plain, spread = _score([part[layer]] * 2, truth, rows, coverage)
            arrays[f"per_query_{name}"][queries], arrays[f"spread_{name}_{kind}"] = spread[0], spread
            untuned[name] = {"damping": dampings[layer], **plain}
        record[kind] = {
            **tuned,
            "n": {"queries": len(queries), "subsets": len(measured)},
            "selected_damping": chosen[0]["damping"],
            "other_damping": chosen[1]["damping"],
            "at_edge": any(choice["at_edge"] for choice in chosen) if dampings else None,
            **untuned,
            "sweep": curves[0],
        }
    return {"kinds": record, "halves": split}, arrays


def _score(
    predictions: list[np.ndarray], measured: np.ndarray, halves: list[list[int]], coverage: float
) -> tuple[dict[str, Any], np.ndarray]:
    """{lds, interval} and the spread [1 + S, Q] of one kind: means of two halves; a prediction [S, Q] for each."""
    spread = of_halves(predictions, measured, halves)
    return {"lds": mean(spread), "interval": interval(spread, coverage)}, spread


def _grid(
    scores: np.ndarray, dampings: np.ndarray | None, default_damping: float | None
) -> tuple[np.ndarray, list[float], int]:
    """Scores as [L, Q, N], the dampings as written in the configuration, and the position of the default."""
    if dampings is None:
        if scores.ndim != 2 or default_damping is not None:
            raise StudyError("scores without dampings must be [Q, N] and have no default damping")
        return scores[None], [], 0
    if scores.ndim != 3 or len(scores) != len(dampings):
        raise StudyError(f"scores must be [{len(dampings)}, Q, N] to fit the dampings, got {list(scores.shape)}")
    grid = [float(str(value)) for value in np.asarray(dampings)]  # float32 0.1 is 0.1 again
    if default_damping is None:
        raise StudyError(f"name the default damping, one of {grid}")
    near = [i for i, value in enumerate(grid) if np.isclose(value, default_damping, rtol=1e-5, atol=0.0)]
    if not near:
        raise StudyError(f"default damping {default_damping} is not on the grid {grid}")
    return scores, grid, near[0]
