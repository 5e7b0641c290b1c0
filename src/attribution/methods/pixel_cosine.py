"""Cosine of the raw pixels (Zheng et al. 2024, "Raw pixel (cosine)"): similarity, no model involved.

Pixels are in [-1, 1], as the model sees them. Shape letters: Q queries, N training examples, C H W image.
"""

import numpy as np


def score(queries: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """[Q, N] cosines in [-1, 1] of queries [Q, C, H, W] and train [N, C, H, W]; nothing is drawn from the seed."""
    q, x = (images.reshape(len(images), -1).astype(np.float64) for images in (queries, train))
    return (q @ x.T) / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1))
