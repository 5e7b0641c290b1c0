"""Similarity of the raw pixels, no model involved, and random scores: what every method must beat.

Shape letters: Q queries, N training examples, C H W image.
"""

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from attribution.core.rng import rng

FAMILY = {
    "family": "Baselines",
    "reads": "images",
    "settings": {},
    "methods": {
        "random": {
            "label": "Random",
            "about": "random scores",
            "score": "standard normal, a stream a query",
            "source": "control",
        },
        "pixel_cosine": {
            "label": "Pixel cosine",
            "about": "cosine of the images",
            "score": "cosine of the pixels in [-1, 1]",
            "source": 'Zheng et al. 2024, "Raw pixel"',
        },
        "pixel_l2": {
            "label": "Pixel distance",
            "about": "negative distance of the images",
            "score": "minus the Euclidean distance",
            "source": "baseline",
        },
    },
}


def random(queries: np.ndarray, train: np.ndarray, settings: dict[str, Any], seed: int) -> np.ndarray:
    """[Q, N] standard normal scores, a row from each query's own stream; their LDS is 0 up to noise."""
    return np.stack([rng(seed, "random scores", q).standard_normal(len(train)) for q in range(len(queries))])


def pixel_cosine(queries: np.ndarray, train: np.ndarray, settings: dict[str, Any], seed: int) -> np.ndarray:
    """[Q, N] cosines in [-1, 1] of queries [Q, C, H, W] and train [N, C, H, W], pixels as the model sees them."""
    q, x = (images.reshape(len(images), -1).astype(np.float64) for images in (queries, train))
    return (q @ x.T) / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1))


def pixel_l2(queries: np.ndarray, train: np.ndarray, settings: dict[str, Any], seed: int) -> np.ndarray:
    """[Q, N] minus the distances of queries [Q, C, H, W] and train [N, C, H, W], 0 for identical images."""
    return -cdist(queries.reshape(len(queries), -1), train.reshape(len(train), -1))
