"""D-TRAK: TRAK's kernel on gradients of something that is not the loss (Zheng et al. 2024).

Queries and training examples alike (`measurement` and `feature`) give the gradient of the mean squared network output
(`squared_norm`) or of its mean absolute value (`l1_norm`): the target noise does not enter.

Shape letters: L dampings, Q queries, N training examples.
"""

import numpy as np

from attribution.curvature import dual


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer for each lambda relative to the kernel's mean diagonal, all > 0."""
    return dual.scores(gram, dampings)
