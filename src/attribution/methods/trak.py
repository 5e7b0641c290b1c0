"""TRAK with its exact kernel: no projection, no noise from one (Park et al. 2023, Eq. 13; Zheng et al. 2024).

With Phi [N, P] the loss gradients, tau = phi_q^T (Phi^T Phi + lambda I)^{-1} Phi^T. By the push-through identity this
is phi_q^T Phi^T (Phi Phi^T + lambda I)^{-1}: an N x N solve in float64, not a P x P one. lambda is quoted relative to
the kernel's mean diagonal, so that it means the same under any scale of the gradients. The classification weight
(1 - p) of the original has no counterpart in a regression loss.

Shape letters: L dampings, Q queries, N training examples, P parameters.
"""

import numpy as np
from scipy.linalg import eigh


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer a relative damping lambda / mean(diag(Phi Phi^T)) > 0; one eigendecomposition in all."""
    kernel = gram["train_train"]
    values, vectors = eigh(kernel)
    rotated = gram["query_train"] @ vectors  # [Q, N]
    unit = np.trace(kernel) / len(kernel)
    return np.stack([(rotated / (values.clip(min=0) + damping * unit)) @ vectors.T for damping in dampings])
