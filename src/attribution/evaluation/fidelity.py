"""How faithful cheaper scores are to the full pass, query by query: recall of its top, correlation of ranks.

Queries are resampled for the intervals; all settings meet the same resamples.

Shape letters: Q queries, N training examples, S draws, B resamples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.evaluation.intervals import percentile
from attribution.evaluation.lds import spearman


def recall(full: np.ndarray, cheaper: np.ndarray, top: int) -> np.ndarray:
    """Share [Q] of the `top` highest of full [Q, N] that are among the `top` highest of cheaper [Q, N]; ties by row."""
    lists = [np.argsort(-scores, axis=1, kind="stable")[:, :top] for scores in (full, cheaper)]
    return np.array([len(np.intersect1d(a, b)) / top for a, b in zip(*lists, strict=True)])


def rank_correlation(full: np.ndarray, cheaper: np.ndarray) -> np.ndarray:
    """Spearman over examples, [Q]; 0 where a score is the same for all examples, which ranks nothing."""
    return np.nan_to_num(spearman(full, cheaper, axis=1), nan=0.0)


def split_half(terms: np.ndarray) -> np.ndarray:
    """Reliability [Q] of the mean of terms [Q, N, S]: r of two halves of the draws, stepped up to all (Spearman-Brown).

    The halves are every other draw of the bank's order. NaN never: a negative r is what it is.
    """
    r = rank_correlation(terms[:, :, 0::2].mean(2), terms[:, :, 1::2].mean(2))
    return 2 * r / (1 + np.maximum(r, -0.99))


def mean_interval(values: np.ndarray, seed: int, bootstrap: int, coverage: float) -> dict[str, Any]:
    """{value, interval, n} of values [Q]: the mean over queries."""
    count = len(values)
    drawn = np.stack([rng(seed, "bootstrap fidelity", b).integers(count, size=count) for b in range(bootstrap)])
    interval = percentile(values[drawn].mean(1), coverage)
    return {"value": float(values.mean()), "interval": interval, "n": {"queries": count}}


def by_draws(terms: np.ndarray, counts: Sequence[int]) -> dict[int, np.ndarray]:
    """Number of draws -> rank correlation [Q] of the mean over so many first draws with the mean over all."""
    full = terms.mean(2)
    return {count: rank_correlation(full, terms[:, :, :count].mean(2)) for count in counts}
