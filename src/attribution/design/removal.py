"""Training sets without the top influences of a query (Mlodozeniec et al. 2025, section 4.2).

Shape letters: N training examples, Q queries; n examples that are kept.
"""

import numpy as np


def chosen_queries(kinds: np.ndarray, count: int) -> np.ndarray:
    """Rows of the first `count` queries of each kind: not chosen by their results."""
    return np.concatenate([np.flatnonzero(kinds == kind)[:count] for kind in dict.fromkeys(kinds.tolist())])


def kept(scores: np.ndarray, percent: float) -> np.ndarray:
    """Ascending examples [n] that stay when the top `percent` of N by `scores` [N] leave; ties by example number."""
    leaving = np.argsort(-scores, kind="stable")[: round(percent / 100 * len(scores))]
    return np.setdiff1d(np.arange(len(scores)), leaving)
