"""Do two methods name the same examples? Mean over queries of |A & B| / k, of their lists of the k highest scores.

Within one method the same is asked of pairs of queries (hubness.py, whose resamples of queries these are); by chance
both are k / N.

Shape letters: B resamples, k length of a list, N training examples, Q queries.
"""

from typing import Any

import numpy as np

from attribution.evaluation.hubness import in_list, pair_overlap, query_counts
from attribution.evaluation.intervals import percentile


def between(a: np.ndarray, b: np.ndarray, k: int, seed: int, bootstrap: int, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of the overlap of two methods' lists, of scores a and b [Q, N]."""
    shared = (in_list(a, k) * in_list(b, k)).sum(1) / k  # [Q]
    counts = query_counts(seed, bootstrap, len(shared))  # [B, Q]
    interval = percentile(counts @ shared / counts.sum(1), coverage)
    return {"value": float(shared.mean()), "interval": interval, "n": {"queries": len(shared), "examples": a.shape[1]}}


def within(scores: np.ndarray, k: int, seed: int, bootstrap: int, coverage: float) -> dict[str, Any]:
    """The same of pairs of different queries of one method, scores [Q, N]."""
    listed = in_list(scores, k)
    shared = (listed @ listed.T) / k  # [Q, Q]
    counts = np.concatenate([np.ones((1, len(shared))), query_counts(seed, bootstrap, len(shared))])
    values = pair_overlap(shared, counts)
    n = {"queries": len(shared), "examples": scores.shape[1]}
    return {"value": float(values[0]), "interval": percentile(values[1:], coverage), "n": n}
