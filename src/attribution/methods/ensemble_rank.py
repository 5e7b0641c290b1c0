"""An ensemble of methods: the mean of their ranks. Nothing is fitted but the members' dampings.

Shape letters: K methods, Q queries, N training examples, S subsets.
"""

import numpy as np
from scipy.stats import rankdata


def combine(scores: np.ndarray, predictions: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """[Q, N] of scores [K, Q, N]: mean over methods of an example's rank, from -1/2 to 1/2; ties get average ranks.

    predictions [K, S, Q] and measured [S, Q], what a fitted ensemble would learn from, are not used.
    """
    ranks = rankdata(scores, method="average", axis=2)
    return ((ranks - 0.5) / scores.shape[2] - 0.5).mean(0)
