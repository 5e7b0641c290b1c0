"""Do the same training examples come out on top for every query?

Gradients of the loss differ in length by their timestep, and a score that holds the length ranks the longest first
whatever the query: generally influential examples (Xie et al. 2024, arXiv 2401.09031, Diffusion-TracIn and -ReTrac).
Of the lists of the k highest-scoring examples of each query of a kind:

    overlap            mean over pairs of queries of |list & list'| / k: 0 where each query has examples of its own
    distinct           |union of all lists| / (Q k), as that paper counts
    most               largest share of queries that have one and the same example in their list
    norm_correlation   Spearman over training examples of mean_q |scores[q, n]| with the length of n's loss gradient

Intervals are bootstrapped over queries. Drawing a query twice adds no example to the union, so `distinct` cannot be
bootstrapped, and the largest of many shares is biased by it: both come without interval. The overlap is the share of
two lists that is not distinct; a pair of a query with itself, drawn twice, does not count. All methods meet the same
resamples, so that their differences are paired.

Shape letters: B resamples, k length of a list, N training examples, Q queries.
"""

from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import percentile
from attribution.evaluation.lds import spearman

BOOTSTRAPPED = ("overlap", "norm_correlation")


def hubness(
    scores: np.ndarray, norms: np.ndarray, k: int, seed: int, bootstrap: int, coverage: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """{overlap, norm_correlation: {value, interval}, distinct, most, n} of one kind's scores [Q, N], and the
    bootstrap replicates [B] of the first two.

    norms: [N] lengths of the loss gradients. Raises StudyError for fewer than 2 queries, a list as long as the training
    set, or scores or lengths that do not vary.
    """
    queries, examples = scores.shape
    if queries < 2 or not 0 < k < examples:
        raise StudyError(f"lists of {k} of {examples} examples for {queries} queries: nothing to compare")
    listed = in_list(scores, k)  # [Q, N]
    shared = (listed @ listed.T) / k  # [Q, Q]
    size = np.abs(scores.astype(np.float64))
    counts = query_counts(seed, bootstrap, queries)
    once = np.ones((1, queries))
    value = {"overlap": pair_overlap(shared, once), "norm_correlation": _norm_correlation(size, norms, once)}
    spread = {"overlap": pair_overlap(shared, counts), "norm_correlation": _norm_correlation(size, norms, counts)}
    holders = listed.sum(0)
    record = {
        name: {"value": float(value[name][0]), "interval": percentile(spread[name], coverage)} for name in BOOTSTRAPPED
    }
    record |= {"distinct": float((holders > 0).sum() / (queries * k)), "most": float(holders.max() / queries)}
    return record | {"n": {"queries": queries, "examples": examples}}, spread


def in_list(scores: np.ndarray, k: int) -> np.ndarray:
    """[Q, N] of 0 and 1: who is among the k highest scores [Q, N] of a query; ties by example number."""
    listed = np.zeros(scores.shape)
    np.put_along_axis(listed, np.argsort(-scores, axis=1, kind="stable")[:, :k], 1.0, axis=1)
    return listed


def query_counts(seed: int, count: int, queries: int) -> np.ndarray:
    """How often each query is drawn in every resample, [B, Q]; one that holds a single query is drawn again."""
    counts = np.empty((count, queries))
    for b in range(count):
        stream = rng(seed, "bootstrap prevalence", b)
        while True:
            counts[b] = np.bincount(stream.integers(queries, size=queries), minlength=queries)
            if (counts[b] > 0).sum() > 1:
                break
    return counts


def pair_overlap(shared: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of shared [Q, Q] over pairs of different queries, weighted by counts [B, Q]: [B]."""
    own = np.diagonal(shared)
    total = np.einsum("bi,ij,bj->b", counts, shared, counts) - counts**2 @ own
    return total / (counts.sum(1) ** 2 - (counts**2).sum(1))


def _norm_correlation(size: np.ndarray, norms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Spearman of the mean over drawn queries of |scores| [Q, N] with norms [N], for every resample: [B]."""
    found = spearman(counts @ size, norms[None], axis=1)
    if not np.isfinite(found).all():
        raise StudyError("scores or gradients are the same for all training examples: nothing to correlate")
    return found
