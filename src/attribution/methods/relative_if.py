"""Relative influence: TRAK divided by how far an example moves the parameters (Barshan et al. 2020; Zheng et al. 2024).

tau / |(Phi^T Phi + lambda I)^{-1} phi_n|: an outlier that moves every query no longer ranks high for each of them.

Shape letters: L dampings, Q queries, N training examples.
"""

import numpy as np

from attribution.curvature import dual


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer for each lambda relative to the kernel's mean diagonal, all > 0."""
    return dual.relative(gram, dampings)
