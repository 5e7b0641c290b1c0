"""Similarity of loss gradients: influence with the identity for the curvature (Charpiat et al. 2019).

Shape letters: Q queries, N training examples.
"""

from typing import Any

import numpy as np

FAMILY = {
    "family": "Gradients",
    "reads": "gram",
    "settings": {
        "measurement": {"$ref": "#/$defs/kernel_measurement", "default": "loss"},
        "feature": {"$ref": "#/$defs/feature", "default": "loss"},
        "projection": {"$ref": "#/$defs/projection", "default": "none"},
    },
    "methods": {
        "gradient_dot": {
            "label": "Gradient dot",
            "about": "inner product of the loss gradients",
            "score": "<g_q, g_n>",
            "source": "Charpiat et al. 2019",
        },
        "gradient_cosine": {
            "label": "Gradient cosine",
            "about": "cosine of the loss gradients",
            "score": "<g_q, g_n> / (|g_q| |g_n|)",
            "source": "Charpiat et al. 2019",
        },
    },
}


def gradient_dot(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] products of the query's and the training example's gradient."""
    return gram["query_train"][None]


def gradient_cosine(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] cosines in [-1, 1]: the product without the gradients' norms; an example without gradient scores 0."""
    norms = np.sqrt(np.outer(gram["query_norm"], gram["train_norm"]))
    return np.divide(gram["query_train"], norms, out=np.zeros_like(norms), where=norms > 0)[None]
