"""What retraining without the top influences does to a query's loss, against a random removal of the same size.

delta[q] = mean over replicates of loss(q | trained without q's top examples) - loss(q | trained on all), within each
replicate's common random numbers. A method that finds what matters raises the loss more than a random removal
(Mlodozeniec et al. 2025, Fig. 3; the random control and the paired intervals are added here). Queries are resampled:
the retrained models of two queries have nothing in common.

Shape letters: B resamples, R replicates, Q queries.
"""

from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import percentile


def increase(removed: np.ndarray, full: np.ndarray) -> np.ndarray:
    """[Q] of removed [R, Q] (each query on its own models) and full [R, Q]; StudyError for NaN or other shapes."""
    if removed.shape != full.shape:
        raise StudyError(f"losses without top influences are {list(removed.shape)}, on all examples {list(full.shape)}")
    delta = (removed - full).mean(0)
    if not np.isfinite(delta).all():
        raise StudyError("a loss measured after a removal is not finite")
    return delta


def compare(
    increases: dict[str, np.ndarray], control: str, seed: int, bootstrap: int, coverage: float
) -> dict[str, Any]:
    """Method -> {value, interval, over: other method -> {value, interval}, over_control, n} of increases [Q].

    `over` are paired differences; over_control is that to the control, null for the control itself.
    """
    queries = len(increases[control])
    draws = np.stack([rng(seed, "bootstrap removal", b).integers(queries, size=queries) for b in range(bootstrap)])
    record = {}
    for method, delta in increases.items():
        over = {
            other: {"value": float(gain.mean()), "interval": percentile(gain[draws].mean(1), coverage)}
            for other, gain in ((other, delta - less) for other, less in increases.items() if other != method)
        }
        record[method] = {
            "value": float(delta.mean()),
            "interval": percentile(delta[draws].mean(1), coverage),
            "over": over,
            "over_control": over.get(control),
            "n": {"queries": queries},
        }
    return record
