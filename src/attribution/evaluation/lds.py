"""Linear datamodeling score: do the scores predict how the loss moves when a group of examples is left out?

Park et al., TRAK (arXiv 2303.14186), section 2; for diffusion models Zheng et al. (2311.00500) and Mlodozeniec et al.
(2410.13850). For subset s the loss of query q is predicted, up to an offset and 1/N, by the scores of the examples that
the model of s did not see:

    prediction[s, q] = sum over n not in subset s of scores[q, n]

The score of a query is the Spearman correlation over subsets of that prediction with the measured loss, averaged over
training replicates first; what is reported has its small-sample bias taken out (intervals.py). Where every subset has
the same size, minus the sum over kept examples gives the same ranks.

Shape letters: N training examples, Q queries, R training replicates, S subsets.
"""

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation.ranks import average_ranks


def spearman(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Spearman correlation of `a` and `b` along `axis`, the same length in both; ties get average ranks.

    The other axes broadcast. NaN where either is constant along the axis: the correlation is undefined there. Returns
    the shape without `axis`.
    """
    x = _centred_ranks(a, axis)
    y = _centred_ranks(b, axis)
    scale = np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (x * y).sum(axis) / scale, np.nan)


def group_prediction(masks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Predicted rise of each query's loss when the examples outside a subset are removed, [S, Q].

    masks: [S, N] bool, True where the subset holds the example; scores: [Q, N], larger = removal hurts more.
    Raises StudyError where shapes disagree or a score is NaN or infinite.
    """
    masks, scores = np.asarray(masks), np.asarray(scores)
    if masks.ndim != 2 or masks.dtype != np.bool_:
        raise StudyError(f"masks must be bool [S, N], got {masks.dtype} {list(masks.shape)}")
    if scores.ndim != 2 or scores.shape[1] != masks.shape[1]:
        raise StudyError(f"scores must be [Q, {masks.shape[1]}] to fit the masks, got {list(scores.shape)}")
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if broken.size:
        raise StudyError(f"scores hold NaN or infinity for {broken.size} queries, the first is query {broken[0]}")
    return (~masks).astype(np.float64) @ scores.astype(np.float64).T  # [S, N] @ [N, Q] -> [S, Q]


def mean_outcome(outcomes: np.ndarray) -> np.ndarray:
    """Measured losses [R, S, Q] averaged over replicates, [S, Q]; StudyError where one is NaN or infinite."""
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if outcomes.ndim != 3:
        raise StudyError(f"outcomes must be [R, S, Q], got {list(outcomes.shape)}")
    broken = np.argwhere(~np.isfinite(outcomes))
    if len(broken):
        replicate, subset, query = broken[0]
        raise StudyError(f"measured loss of query {query} on subset {subset}, replicate {replicate}, is not finite")
    return outcomes.mean(axis=0)


def check_pair(prediction: np.ndarray, measured: np.ndarray) -> None:
    """StudyError where the shapes [S, Q] disagree or a query's prediction or loss is the same on every subset."""
    if prediction.shape != measured.shape or prediction.ndim != 2:
        raise StudyError(f"prediction {list(prediction.shape)} and measured loss {list(measured.shape)} must be [S, Q]")
    for name, values in (("the prediction", prediction), ("the measured loss", measured)):
        constant = np.flatnonzero((values == values[:1]).all(axis=0))
        if constant.size:
            raise StudyError(
                f"{name} of query {constant[0]} is the same on all {len(values)} subsets: no correlation is defined"
            )


def _centred_ranks(values: np.ndarray, axis: int) -> np.ndarray:
    ranks = average_ranks(values, axis)
    return ranks - (np.shape(values)[axis] + 1) / 2
