"""Does influence foresee how often a smaller training set would lower a query's loss, and by how much?

Influence in absolute units predicts the change of a query's measurement when only subset s is trained on,

    predicted[s, q] = 1/N sum over n not in s of scores[q, n]

and the retrained models show it: actual[s, q] = outcome of subset s, averaged over replicates, minus the measurement of
the models of all examples. Mlodozeniec et al. 2025 (arXiv 2410.13850, Fig. 4) find predicted decreases to be many,
actual ones few: group predictions are right in rank, not in magnitude. Here the two shares of decreases, their
difference and the slope of actual on predicted are numbers, each with a two-way bootstrap interval (intervals.py). The
subsets leave out a large share of the examples, far from where a linear prediction is meant to hold. The slope has a
meaning where the scores have units: with curvature of the model's output, not with the empirical Fisher.

The model of all examples has training noise of its own, which moves all actual changes of a query together. So there is
one for each replicate, trained under the replicate's common random numbers, and changes are taken within replicates.

Shape letters: B resamples, N training examples, Q queries, R training replicates, S subsets.
"""

from typing import Any

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation.intervals import percentile, resamples
from attribution.evaluation.lds import group_prediction, mean_outcome
from attribution.evaluation.selection import by_kind

MEASURES = ("predicted", "actual", "difference", "slope")


def changes(
    scores: np.ndarray, masks: np.ndarray, outcomes: np.ndarray, baseline: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and actual change of each query's measurement, [S, Q] each.

    scores: [Q, N] in units of the measurement times N, larger = removal raises it more; masks: [S, N] bool; outcomes:
    [R, S, Q]; baseline: [R', Q], of the models of all examples; where one has fewer replicates, its first ones count.
    Raises StudyError where shapes disagree or a value is NaN.
    """
    if baseline.ndim != 2 or baseline.shape[1:] != outcomes.shape[2:] or not np.isfinite(baseline).all():
        raise StudyError(
            f"models of all examples need {outcomes.shape[2]} finite losses each, [R, Q]; got {list(baseline.shape)}"
        )
    count = min(len(baseline), len(outcomes))
    actual = mean_outcome(outcomes[:count]) - baseline[:count].mean(0)
    predicted = group_prediction(masks, scores) / masks.shape[1]
    if predicted.shape != actual.shape:
        raise StudyError(f"predicted changes are {list(predicted.shape)}, measured losses {list(actual.shape)}")
    return predicted, actual


def calibration(
    predicted: np.ndarray, actual: np.ndarray, kinds: np.ndarray, seed: int, bootstrap: int, coverage: float
) -> dict[str, Any]:
    """Kind -> {predicted, actual, difference, slope: {value, interval}, n: {queries, subsets}} of `changes`.

    predicted, actual [S, Q] become the share of (subset, query) pairs where the measurement decreases; difference: the
    first less the second; slope: least squares of actual on predicted through the origin, below 1 where predictions are
    too large. Raises StudyError where nothing is predicted to change.
    """
    if not predicted.any():
        raise StudyError("influence predicts no change of any query: its scores are all zero")
    record = {}
    for kind, queries in by_kind(kinds, predicted.shape[1]).items():
        x, y = predicted[:, queries], actual[:, queries]
        once = np.ones((1, len(x))), np.ones((1, len(queries)))
        (value,), spread = (_measures(x, y, draws) for draws in (once, resamples(seed, bootstrap, *x.shape)))
        record[kind] = {
            name: {"value": float(value[i]), "interval": percentile(spread[:, i], coverage)}
            for i, name in enumerate(MEASURES)
        } | {"n": {"queries": len(queries), "subsets": len(x)}}
    return record


def _measures(x: np.ndarray, y: np.ndarray, draws: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """[B, len(MEASURES)] of x [S, Q] predicted and y [S, Q] actual, in every resample."""
    subset_counts, query_counts = draws

    def mean(values: np.ndarray) -> np.ndarray:
        return ((subset_counts @ values) * query_counts).sum(1) / values.size

    predicted, actual = mean(x < 0), mean(y < 0)
    return np.stack([predicted, actual, predicted - actual, mean(x * y) / mean(x * x)], axis=1)
