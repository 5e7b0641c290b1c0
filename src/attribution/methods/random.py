"""Random scores: the control that every method must beat; its LDS is 0 up to noise.

Shape letters: Q queries, N training examples.
"""

import numpy as np

from attribution.core.rng import rng


def score(queries: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """[Q, N] standard normal scores, a row from each query's own stream; only the images' numbers are used."""
    return np.stack([rng(seed, "random scores", q).standard_normal(len(train)) for q in range(len(queries))])
