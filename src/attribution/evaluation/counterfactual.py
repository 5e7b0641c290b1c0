"""Did the image change more than under a random removal? Effects of retraining without what a method names.

Every target has a value after retraining, a similarity to the query as it was (ssim, feature) or a distance from it
(pixel_l2, loss: the rise of the query's loss). For a method against its control, a random removal of the same size:
    effect        mean of the value
    over_control  mean paired difference to the control
    ratio         100 (mean / max(median of the control, 0.01) - 1) percent       (Serrà et al. 2026)
    auc           how often a target is changed more than one of the control's, ties half: 0.5 by chance, 1 best
    hit           share of targets whose similarity is below 0.95 of the control's (distance: above it over 0.95)
Values are [R, T]: under leave-K-out each entry has a model of its own and targets are resampled. Under the joint
protocol all targets of a replicate share one retrained model: the jackknife's variance over these models is added.
Intervals are Student's t, with the degrees of freedom of both parts (Satterthwaite); shares (auc, hit) have Wilson's.
Where models differ more than targets do, two replicates are too few for the nominal coverage (docs/methods.md).

Shape letters: R replicates, T targets, B resamples.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import of_share

SIMILARITIES = ("ssim", "feature")
DISTANCES = ("pixel_l2", "loss")
SHARES = ("auc", "hit")
MARGIN, LEAST = 0.95, 0.01


def judge(
    values: np.ndarray, control: np.ndarray, measure: str, clustered: bool, seed: int, bootstrap: int, coverage: float
) -> dict[str, Any]:
    """{effect, over_control, ratio, auc, hit: {value, interval}, n} of values and control [R, T], paired.

    clustered: whether the targets of a replicate share a model. Raises StudyError for other shapes or NaN.
    """
    if values.shape != control.shape or values.ndim != 2 or not np.isfinite([values, control]).all():
        raise StudyError(
            f"{measure}: {list(values.shape)} values and {list(control.shape)} of the control, or not finite"
        )
    names, point = zip(*statistics(values, control, measure).items(), strict=True)

    def again(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        part = np.ix_(rows, columns)
        return np.array(list(statistics(values[part], control[part], measure).values()))

    spread = zip(*_variance(again, values.shape, clustered, seed, bootstrap), strict=True)
    return {
        name: {"value": value, "interval": _interval(value, *each, coverage, name in SHARES)}
        for name, value, each in zip(names, point, spread, strict=True)
    } | {"n": _n(values, clustered)}


def mean(values: np.ndarray, clustered: bool, seed: int, bootstrap: int, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of values [R, T], resampled alike: what has no control."""
    value = float(values.mean())
    again = lambda rows, columns: np.array([values[np.ix_(rows, columns)].mean()])  # noqa: E731
    (variance,), (freedom,) = _variance(again, values.shape, clustered, seed, bootstrap)
    interval = _interval(value, variance, freedom, coverage, False)
    return {"value": value, "interval": interval, "n": _n(values, clustered)}


def statistics(values: np.ndarray, control: np.ndarray, measure: str) -> dict[str, float]:
    """The five numbers of values and control [R, T]. Raises StudyError for an unknown measure."""
    if measure not in SIMILARITIES + DISTANCES:
        raise StudyError(f"measure {measure!r} is not known (allowed: {', '.join(SIMILARITIES + DISTANCES)})")
    sign = -1.0 if measure in SIMILARITIES else 1.0  # a lower similarity is more change
    of_targets, of_control = values.mean(0), control.mean(0)
    hits = of_targets < MARGIN * of_control if sign < 0 else MARGIN * of_targets > of_control
    return {
        "effect": float(values.mean()),
        "over_control": float((values - control).mean()),
        "ratio": float(100 * (values.mean() / max(float(np.median(control)), LEAST) - 1)),
        "auc": auc(sign * values.ravel(), sign * control.ravel()),
        "hit": float(hits.mean()),
    }


def auc(larger: np.ndarray, smaller: np.ndarray) -> float:
    """Chance that an entry of the first is above one of the second, ties half: area under the ROC curve."""
    above = larger[:, None] - smaller[None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def _variance(
    again: Callable[[np.ndarray, np.ndarray], np.ndarray],
    shape: tuple[int, int],
    clustered: bool,
    seed: int,
    bootstrap: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of statistics `again(rows, columns)` [K] of values [R, T], and its degrees of freedom; [K] each."""
    replicates, targets = (np.arange(count) for count in shape)
    freedom = max(len(targets) - 1, 1)
    streams = (rng(seed, "bootstrap counterfactual", b) for b in range(bootstrap))
    drawn = [stream.integers(len(targets), size=len(targets)) for stream in streams]
    variance = np.var([again(replicates, columns) for columns in drawn], axis=0) * (freedom + 1) / freedom
    if not clustered or len(replicates) < 2:
        return variance, np.full(len(variance), float(freedom))
    others = len(replicates) - 1
    of_models = others * np.var([again(np.delete(replicates, r), targets) for r in replicates], axis=0)
    total, parts = variance + of_models, variance**2 / freedom + of_models**2 / others
    return total, np.divide(total**2, parts, out=np.full(len(total), float(freedom)), where=parts > 0)


def _interval(value: float, variance: float, freedom: float, coverage: float, share: bool) -> list[float]:
    if share:
        return of_share(value, variance, freedom, coverage)
    half = np.sqrt(variance) * stats.t.ppf((1 + coverage) / 2, freedom)
    return [float(value - half), float(value + half)]


def _n(values: np.ndarray, clustered: bool) -> dict[str, int]:
    return {"targets": values.shape[1], "models": values.shape[0] if clustered else values.size}


def pairs(images: int) -> list[tuple[int, int]]:
    """Every pair of models that differ by their seed alone."""
    return [(a, b) for a in range(images) for b in range(a + 1, images)]
