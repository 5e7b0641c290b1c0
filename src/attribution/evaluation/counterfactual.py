"""Did the image change more than under a random removal? Effects of retraining without what a method names.

Every target has a value after retraining, a similarity to the query as it was (ssim, feature) or a distance from it
(pixel_l2, loss: the rise of the query's loss). For a method against its control, a random removal of the same size:
    effect        mean of the value
    over_control  mean paired difference to the control
    ratio         100 (mean / max(median of the control, 0.01) - 1) percent       (Serrà et al. 2026)
    auc           how often a target is changed more than one of the control's, ties half: 0.5 by chance, 1 best
    hit           share of targets whose similarity is below 0.95 of the control's (distance: above it over 0.95)
Values are [R, T]: under leave-K-out each entry has a model of its own, replicates are averaged and targets resampled.
Under the joint protocol all targets of a replicate share one retrained model, so that replicates, the clusters, are
resampled too: targets alone would make intervals too narrow. Few replicates make such intervals rough.

Shape letters: R replicates, T targets, B resamples.
"""

from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import percentile

SIMILARITIES = ("ssim", "feature")
DISTANCES = ("pixel_l2", "loss")
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
    draws = resamples(*values.shape, clustered, seed, bootstrap)
    point = statistics(values, control, measure)
    spread = [statistics(values[np.ix_(r, t)], control[np.ix_(r, t)], measure) for r, t in draws]
    n = {"targets": values.shape[1], "models": values.shape[0] if clustered else values.size}
    return {
        name: {"value": value, "interval": percentile(np.array([one[name] for one in spread]), coverage)}
        for name, value in point.items()
    } | {"n": n}


def mean(values: np.ndarray, clustered: bool, seed: int, bootstrap: int, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of values [R, T], resampled alike: what has no control."""
    draws = resamples(*values.shape, clustered, seed, bootstrap)
    interval = percentile(np.array([values[np.ix_(r, t)].mean() for r, t in draws]), coverage)
    n = {"targets": values.shape[1], "models": values.shape[0] if clustered else values.size}
    return {"value": float(values.mean()), "interval": interval, "n": n}


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


def resamples(
    replicates: int, targets: int, clustered: bool, seed: int, bootstrap: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(replicates drawn, targets drawn) of every resample; replicates stay as they are where models are not shared."""
    drawn = []
    for b in range(bootstrap):
        stream = rng(seed, "bootstrap counterfactual", b)
        chosen = stream.integers(targets, size=targets)
        drawn.append((stream.integers(replicates, size=replicates) if clustered else np.arange(replicates), chosen))
    return drawn


def pairs(images: int) -> list[tuple[int, int]]:
    """Every pair of models that differ by their seed alone."""
    return [(a, b) for a in range(images) for b in range(a + 1, images)]
