"""Training sets without what a method names: query by query, or for several queries at once.

leave   for each query, all but its K highest-scoring examples (Wang et al. 2024: leave-K-out)
joint   all but the union of the queries' K highest-scoring examples: one training set for all of them (Serrà et al.
        2026). Its size depends on how much the lists of a method overlap, so each has a random control of that size.

Shape letters: N training examples, T target queries, K examples of a list; n examples that are kept.
"""

import numpy as np

from attribution.core.rng import Name, rng
from attribution.errors import StudyError


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` highest of scores [N], ties by example number; StudyError where nothing would be kept."""
    if not 0 <= count < len(scores):
        raise StudyError(f"counterfactual: leaving out {count} of {len(scores)} examples leaves nothing to train on")
    return np.argsort(-scores, kind="stable")[:count]


def without(examples: int, leaving: np.ndarray) -> np.ndarray:
    """Ascending rows [n] of 0..examples-1 that stay."""
    return np.setdiff1d(np.arange(examples), leaving)


def union(scores: np.ndarray, count: int) -> np.ndarray:
    """Ascending examples in the list of any target, of scores [T, N]; StudyError where all examples are."""
    found = np.unique(np.concatenate([top(row, count) for row in scores]))
    if len(found) == scores.shape[1]:
        raise StudyError(
            f"counterfactual.joint: {len(scores)} lists of {count} hold all examples; lower count or queries"
        )
    return found


def control(examples: int, size: int, seed: int, *names: Name) -> np.ndarray:
    """A random removal of `size` examples, from its own stream."""
    return rng(seed, "size-matched control", *names).permutation(examples)[:size]
