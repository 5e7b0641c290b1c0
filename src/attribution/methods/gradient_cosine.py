"""Cosine of loss gradients (Charpiat et al. 2019): the inner product without the examples' gradient norms.

Shape letters: Q queries, N training examples.
"""

import numpy as np


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[1, Q, N] cosines in [-1, 1]; an example without gradient scores 0. There is no damping."""
    norms = np.sqrt(np.outer(gram["query_norm"], gram["train_norm"]))
    return np.divide(gram["query_train"], norms, out=np.zeros_like(norms), where=norms > 0)[None]
