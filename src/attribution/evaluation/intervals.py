"""Rank correlations without small-sample bias, and intervals that count the choice of subsets and that of queries.

**Value.** Spearman's r over n subsets has the mean ((n - 2) rho + 3 tau) / (n + 1) (tau: Kendall's; Hoeffding 1948),
below the population's rho by .013 where that is .95 and n is 32. The U-statistic of the same triples has no bias:

    u = sum over distinct i, j, k of sign(x_i - x_j) sign(y_i - y_k) / sqrt(the same of x with x, of y with y)
      = ((n + 1) r - 3 t) / (n - 2) without ties (t: Kendall's tau of the sample).

It is 1 and -1 where r is; of few subsets it may lie beyond, so means are cut to [-1, 1].

**Interval.** All queries share the retrained models: other subsets would have moved every query's correlation together.
With d[s, q] the jackknife's deviation of query q by subset s (of one query, the variance is the sum of its squares),

    variance of the mean = sum_s (mean_q d[s, q])^2 + max(0, var_q(u_q) - noise) / Q,
    noise = sum_s,q (d[s, q] - mean_q d[s, q])^2 / (Q - 1),

what subsets do to all queries, and how far queries differ beyond the noise of their own, which the first term holds
already (two-way clustering; Cameron, Gelbach and Miller 2011). The interval is symmetric on Fisher's z scale, by
Student's t with S - 2 degrees of freedom. Of a difference of two methods it comes from the difference of their
deviations, on the plain scale. docs/methods.md has the coverage of both. Percentiles of a bootstrap fail here: a subset
drawn twice is a tie, and correlations of resamples lie below the value. Training replicates are not resampled: the
interval is for those at hand; what they lack in number is the ceiling's matter.

Shape letters: B resamples, Q queries, S subsets. A spread is [1 + S, Q]: a value for each query, then deviations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.lds import check_pair

CHUNK = 2**22  # signs [Q, S, S] held at once


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spread [1 + S, Q] of the rank correlation u over subsets of a [S, Q] with b [S, Q].

    Raises StudyError for fewer than 4 subsets, where shapes disagree, or where a query's values do not vary.
    """
    check_pair(a, b)
    count, queries = a.shape
    if count < 4:
        raise StudyError(f"the interval of a rank correlation needs 4 subsets or more, got {count}")
    parts = np.array_split(np.arange(queries), -(-queries * count**2 // CHUNK))
    return np.concatenate([_correlations(a[:, part], b[:, part]) for part in parts], axis=1)


def of_halves(predictions: Sequence[np.ndarray], measured: np.ndarray, halves: Sequence[list[int]]) -> np.ndarray:
    """Spread [1 + S, Q] of the mean of the correlations within halves of the subsets, each with a prediction [S, Q]."""
    spread = np.zeros((1 + len(measured), measured.shape[1]))
    for prediction, rows in zip(predictions, halves, strict=True):
        found = correlations(prediction[rows], measured[rows])
        spread[0] += found[0] / len(halves)
        spread[1 + np.array(rows)] = found[1:] / len(halves)
    return spread


def mean(spread: np.ndarray) -> float:
    """Mean over queries of the correlations of a spread [1 + S, Q], within [-1, 1]."""
    return float(np.clip(spread[0].mean(), -1, 1))


def covariance(spreads: Sequence[np.ndarray]) -> np.ndarray:
    """[K, K] of the means over queries of K spreads [1 + S, Q] of the same subsets and queries."""
    each, deviations = (
        np.stack([one[0] for one in spreads]),
        np.stack([one[1:] for one in spreads]),
    )  # [K, (S,) Q]
    shared, queries = deviations.mean(2), each.shape[1]
    if queries == 1:
        return shared @ shared.T
    own = (deviations - shared[:, :, None]).reshape(len(each), -1)
    values, vectors = np.linalg.eigh(np.cov(each).reshape(len(each), -1) - own @ own.T / (queries - 1))
    return shared @ shared.T + vectors * np.maximum(values, 0) @ vectors.T / queries


def interval(spread: np.ndarray, coverage: float) -> list[float]:
    """[low, high] of the mean over queries of the correlations of a spread [1 + S, Q]."""
    centre, half = mean(spread), _half_width(spread, coverage)
    if abs(centre) == 1 or half == 0:
        return np.clip([centre - half, centre + half], -1, 1).tolist()
    return np.tanh(np.arctanh(centre) + half / (1 - centre**2) * np.array([-1, 1])).tolist()


def drawn(spreads: Sequence[np.ndarray], count: int, stream: np.random.Generator) -> np.ndarray:
    """[K, B] means of K spreads of the same subsets and queries, as `interval` believes them to be distributed.

    For what follows from several of them and has no spread of its own.
    """
    centre = np.array([[mean(one)] for one in spreads])
    normal = stream.multivariate_normal(np.zeros(len(spreads)), covariance(spreads), size=count).T
    freedom = len(spreads[0]) - 3
    moved = normal * np.sqrt(freedom / stream.chisquare(freedom, size=count))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(abs(centre) < 1, np.tanh(np.arctanh(centre) + moved / (1 - centre**2)), centre)


def paired(a: np.ndarray, b: np.ndarray, coverage: float) -> Mapping[str, Any]:
    """{"value": a - b, "interval": [low, high]} of the means of two spreads of the same subsets and queries.

    What moves both together cancels. Raises StudyError where the shapes differ.
    """
    if a.shape != b.shape:
        raise StudyError(f"paired difference of spreads of shapes {list(a.shape)} and {list(b.shape)}, [1 + S, Q]")
    value, half = mean(a) - mean(b), _half_width(a - b, coverage)
    return {"value": value, "interval": [value - half, value + half]}


def resamples(seed: int, count: int, subsets: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each subset [B, S] and each query [B, Q] is drawn in every resample; rows sum to S and to Q.

    A draw that holds one subset only, S times over, is drawn again from the same stream. Raises StudyError for fewer
    than 2 subsets, no query or no resample.
    """
    if subsets < 2 or queries < 1 or count < 1:
        raise StudyError(f"a bootstrap needs 2 subsets, 1 query and 1 resample; got {subsets}, {queries}, {count}")
    subset_counts = np.empty((count, subsets))
    query_counts = np.empty((count, queries))
    for b in range(count):
        stream = rng(seed, "bootstrap", b)
        while True:
            drawn = stream.integers(subsets, size=subsets)
            if (drawn != drawn[0]).any():
                break
        subset_counts[b] = np.bincount(drawn, minlength=subsets)
        query_counts[b] = np.bincount(stream.integers(queries, size=queries), minlength=queries)
    return subset_counts, query_counts


def of_replicates(value: float, replicates: np.ndarray, count: int, coverage: float) -> list[float]:
    """[low, high] around what `count` units gave, by the deviation of bootstrap replicates [B] over these units.

    Student's t and the variance of count - 1: percentiles of few units are too near. A single unit has no interval.
    """
    _check_coverage(coverage)
    if count < 2:
        return [float(value), float(value)]
    half = replicates.std() * np.sqrt(count / (count - 1)) * stats.t.ppf((1 + coverage) / 2, count - 1)
    return [float(value - half), float(value + half)]


def of_share(value: float, variance: float, freedom: float, coverage: float) -> list[float]:
    """[low, high] within [0, 1] of a share with this variance: Wilson's, of as many units as would vary so much.

    At 0 and 1 of freedom + 1 units.
    """
    inside = 0 < value < 1
    if inside and variance == 0:
        return [value, value]
    units = value * (1 - value) / variance if inside else freedom + 1
    squared = stats.t.ppf((1 + coverage) / 2, freedom) ** 2 / units
    middle = (value + squared / 2) / (1 + squared)
    half = np.sqrt(squared * value * (1 - value) + squared**2 / 4) / (1 + squared)
    return [float(max(middle - half, 0)), float(min(middle + half, 1))]


def percentile(replicates: np.ndarray, coverage: float) -> list[float]:
    """The central interval [low, high] that holds the share `coverage` of the replicates [B]."""
    _check_coverage(coverage)
    return [float(v) for v in np.quantile(replicates, [(1 - coverage) / 2, (1 + coverage) / 2])]


def difference(
    value_a: float, replicates_a: np.ndarray, value_b: float, replicates_b: np.ndarray, coverage: float
) -> Mapping[str, Any]:
    """{"value": a - b, "interval": [low, high]} of two methods scored on the same resamples, replicates [B] each.

    The interval is that of the paired differences: what moves both methods together cancels. Raises StudyError where
    the numbers of resamples differ.
    """
    a, b = np.asarray(replicates_a, np.float64), np.asarray(replicates_b, np.float64)
    if a.shape != b.shape:
        raise StudyError(f"paired difference of {a.size} and {b.size} resamples: score both with one bootstrap setting")
    return {"value": float(value_a) - float(value_b), "interval": percentile(a - b, coverage)}


def _check_coverage(coverage: float) -> None:
    if not 0 < coverage < 1:
        raise StudyError(f"coverage must lie between 0 and 1, got {coverage}")


def _half_width(spread: np.ndarray, coverage: float) -> float:
    _check_coverage(coverage)
    return float(np.sqrt(covariance([spread])[0, 0]) * stats.t.ppf((1 + coverage) / 2, len(spread) - 3))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    count = len(a)
    x, y = (np.sign(values.T[:, :, None] - values.T[:, None]) for values in (a, b))  # [Q, S, S]
    (xy, pull_xy), (xx, pull_xx), (yy, pull_yy) = _triples(x, y), _triples(x, x), _triples(y, y)
    scale = np.sqrt(xx * yy)
    u = xy / scale
    # first order in what a subset takes with it, so that one without which x is constant divides nothing by 0
    pull = pull_xy / scale[:, None] - u[:, None] / 2 * (pull_xx / xx[:, None] + pull_yy / yy[:, None])
    return np.concatenate([u[None], pull.T * np.sqrt(count * (count - 1)) / (count - 3)])


def _triples(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over distinct i, j, k of x_ij y_ik, signs [Q, S, S]: [Q]; and of the triples with each subset: [Q, S]."""
    rows_x, rows_y, both = x.sum(2), y.sum(2), (x * y).sum(2)  # [Q, S]
    as_others = (rows_y[:, None] @ x)[:, 0] + (rows_x[:, None] @ y)[:, 0]
    return (rows_x * rows_y - both).sum(1), rows_x * rows_y - 3 * both + as_others
