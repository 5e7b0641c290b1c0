"""Renormalised influence: TRAK divided by the example's gradient norm (Hammoudeh & Lowd 2022; Zheng et al. 2024).

tau / |phi_n|. Shape letters: L dampings, Q queries, N training examples.
"""

import numpy as np

from attribution.curvature import dual


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer for each lambda relative to the kernel's mean diagonal, all > 0."""
    return dual.renormalised(gram, dampings)
