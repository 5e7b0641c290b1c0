"""An ensemble: the mean of a method's scores over models that differ in their seed alone (Park et al. 2023).

Each model's score is its own estimate of what removing an example does; what only one seed says is averaged away.
Park et al. average TRAK's Q matrix and its scores apart; a regression loss has no Q matrix, and what is left is the
mean of the scores, as in Zheng et al. 2024. Their models are trained on random subsets, these on all examples.

Shape letters: M models, L dampings, Q queries, N training examples.
"""

import numpy as np


def score(members: list[np.ndarray]) -> np.ndarray:
    """[L, Q, N] float64, mean of M arrays of that shape."""
    return np.mean(members, axis=0, dtype=np.float64)
