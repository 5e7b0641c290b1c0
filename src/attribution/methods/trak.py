"""TRAK (Park et al. 2023, Eq. 13; Zheng et al. 2024), with its exact kernel or with projected gradients.

tau = phi_q^T (Phi^T Phi + lambda I)^{-1} phi_n with Phi [N, P] the training gradients of a feature, the loss in the
original; solved as an N x N problem (curvature/dual.py). With `projection: none` there is no noise from one; else phi
are the sketches of curvature/sketch.py. The classification weight (1 - p) of the original has no counterpart in a
regression loss.

Shape letters: L dampings, Q queries, N training examples, P parameters.
"""

import numpy as np

from attribution.curvature import dual


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer for each lambda relative to the kernel's mean diagonal, all > 0."""
    return dual.scores(gram, dampings)
