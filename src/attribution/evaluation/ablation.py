"""What a landscape of counterfactual samples says: radius, search, false attribution, and what chance would give.

For each generated sample, x with all members and x_a without unit a, from the same noise (Dai & Gifford 2023, 2024):
    distance  d_a = |x - x_a|, Euclidean, pixels in [0, 1]
    radius    max over units of d_a
    first     |sum_j delta_j J_j| = sqrt(delta^T K delta), K = J J^T, delta = w_a - 1/M   (first order in the weights)
    FAR       p1 / p2 cut to [0, 1]: of samples whose nearest training unit stays when it leaves, over the same when
              another leaves. Theirs draws one other unit a sample; here p2 is the mean over all others.
Part of d_a is that members left, whoever's: rows that belong to no unit (null rows) measure that part, and a unit's
distance is judged by its z-score and p-value among them. The papers have no such control.

Intervals are bootstraps over samples; all statistics of a study share their resamples.

Shape letters: A ablations, N units, K null rows, G samples, M members, S sizes, B resamples, C H W image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import of_replicates, percentile


def distances(factual: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[A, G] of factual [G, C, H, W] and others [A, G, C, H, W], both in [-1, 1]."""
    difference = (others - factual).reshape(*others.shape[:2], -1)
    return np.sqrt(np.square(difference).sum(2, dtype=np.float64)) / 2


def first_order(products: np.ndarray, retained: np.ndarray) -> np.ndarray:
    """Distances [A, G] to first order: products K [G, M, M] of samples in [-1, 1], retained [A, M] bool."""
    members = retained.shape[1]
    delta = retained / retained.sum(1, keepdims=True) - 1 / members  # [A, M]
    squares = np.einsum("am,gmk,ak->ag", delta, products, delta, optimize=True)
    return np.sqrt(squares.clip(min=0)) / 2


def precision(exact: np.ndarray, approximate: np.ndarray, top: int) -> np.ndarray:
    """[G]: share of the `top` units by approximate [N, G] that are among the `top` by exact [N, G]."""
    if top > len(exact):
        raise StudyError(f"the top {top} of {len(exact)} units: lower ablation.top")
    first, second = (np.argsort(-values, axis=0, kind="stable")[:top] for values in (exact, approximate))
    return np.array([len(np.intersect1d(a, b)) / top for a, b in zip(first.T, second.T, strict=True)])


def rank_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[G]: Spearman correlation over units of a [N, G] with b [N, G]; 0 where either does not vary."""
    ranks = [stats.rankdata(values, axis=0) for values in (a, b)]
    x, y = (r - r.mean(0) for r in ranks)
    scale = np.sqrt((x * x).sum(0) * (y * y).sum(0))
    return np.divide((x * y).sum(0), scale, out=np.zeros(len(scale)), where=scale > 0)


def unattributable(factual: np.ndarray, counterfactual: np.ndarray) -> np.ndarray:
    """[G] bool: samples whose pixels, cut to black and white at 0, are the same without any of the units."""
    return ((counterfactual > 0) == (factual > 0)).reshape(*counterfactual.shape[:2], -1).all((0, 2))


def stays(factual: np.ndarray, counterfactual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two shares a sample, [G] each: the attribution stays without the attributed unit (0 or 1), without another.

    factual [G] and counterfactual [N, G] hold the unit that each image is attributed to; the search is over all units
    also after one has left. Raises StudyError for a single unit: there is no other.
    """
    units, samples = counterfactual.shape
    if units < 2:
        raise StudyError("false attribution compares with the removal of another unit: it needs two or more")
    same = counterfactual == factual  # [N, G]
    own = same[factual, np.arange(samples)]
    return own.astype(float), (same.sum(0) - own) / (units - 1)


def false_attribution(own: np.ndarray, other: np.ndarray) -> float:
    """FAR of `stays`' shares; NaN where no attribution ever stays without another unit (p2 = 0)."""
    p1, p2 = own.mean(), other.mean()
    return float(np.clip(p1 / p2, 0, 1)) if p2 > 0 else float("nan")


def against_null(values: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-scores and p-values [A, G] of values [A, G] among null [K, G]; p is the rank's, (1 + number >= v) / (K + 1).

    Raises StudyError for fewer than 2 null rows. Where all nulls are equal z is 0.
    """
    if len(null) < 2:
        raise StudyError(f"{len(null)} null rows: a z-score needs two or more; raise ablation.nulls")
    spread = null.std(0, ddof=1)
    z = np.divide(values - null.mean(0), spread, out=np.zeros(values.shape), where=spread > 0)
    ordered = np.sort(null, axis=0)
    above = [len(null) - np.searchsorted(column, v, side="left") for column, v in zip(ordered.T, values.T, strict=True)]
    return z, (1 + np.stack(above, 1)) / (len(null) + 1)


def p_value_calibration(null: np.ndarray) -> dict[str, float]:
    """Kolmogorov-Smirnov distance to uniform of the p-values that one half of null [K, G] gives to the other half:
    `normal`, those of the z-scores, one-sided; `rank`, those of the ranks.
    """
    z, p = against_null(null[1::2], null[0::2])
    return {
        "normal": float(stats.kstest(stats.norm.sf(z).ravel(), "uniform").statistic),
        "rank": float(stats.kstest(p.ravel(), "uniform").statistic),
    }


def resamples(seed: int, count: int, samples: int) -> np.ndarray:
    """Samples drawn with replacement, [B, G]."""
    return np.stack([rng(seed, "bootstrap ablation", b).integers(samples, size=samples) for b in range(count)])


def mean(values: np.ndarray, draws: np.ndarray, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of the mean of values [G]."""
    return {
        "value": float(values.mean()),
        "interval": percentile(values[draws].mean(1), coverage),
        "n": {"samples": len(values)},
    }


def geometric_mean(values: np.ndarray, draws: np.ndarray, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of the geometric mean of values [G]; of 0 where one of them is 0."""
    logs = _logs(values)
    interval = np.exp(of_replicates(logs.mean(), logs[draws].mean(1), len(logs), coverage)).tolist()
    return {"value": float(np.exp(logs.mean())), "interval": interval, "n": {"samples": len(logs)}}


def rate(own: np.ndarray, other: np.ndarray, draws: np.ndarray, coverage: float) -> dict[str, Any] | None:
    """{value, interval, n} of the false attribution rate of `stays`' shares; None where it is not defined."""
    value = false_attribution(own, other)
    if not np.isfinite(value):
        return None
    replicates = np.array([false_attribution(own[draw], other[draw]) for draw in draws])
    replicates = replicates[np.isfinite(replicates)]
    return {"value": value, "interval": percentile(replicates, coverage), "n": {"samples": len(own)}}


def power_law(values: np.ndarray, sizes: Sequence[int], draws: np.ndarray, coverage: float) -> dict[str, Any]:
    """Exponent {value, interval, n}, factor and correlation of values [S, G] ~ factor * size ** exponent.

    Least squares through the means over samples of the logarithms; samples share their noise over the sizes, so they
    are drawn together. Raises StudyError for fewer than two sizes.
    """
    if len(set(sizes)) < 2:
        raise StudyError("a power law needs two sizes or more; add one to ablation.sizes")
    x, logs = np.log(np.asarray(sizes, dtype=float)), _logs(values)
    centred = x - x.mean()
    slopes = lambda y: centred @ y / (centred @ centred)  # noqa: E731
    y = logs.mean(1)
    slope = float(slopes(y))
    varies = np.ptp(y) > 0
    return {
        "value": slope,
        "interval": of_replicates(slope, slopes(logs[:, draws].mean(2)), values.shape[1], coverage),
        "n": {"sizes": len(sizes), "samples": values.shape[1]},
        "factor": float(np.exp(y.mean() - slope * x.mean())),
        "correlation": float(np.corrcoef(x, y)[0, 1]) if varies else 0.0,
    }


def _logs(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, np.finfo(np.float32).tiny))
