"""Ablation: how much the loss of an encoded ensemble rises when the members that saw a unit leave it.

    score[q, n] = L_q(without unit n) - L_q(all members),   L_q(w) = w^T G_q w   (diffusion/ensemble_loss.py)
(Dai & Gifford 2024, whose measure is the distance of generated images; a loss is defined for every query, and has a
sign). The effect is exact, for the generator at hand: no member that is left has seen n. What differs from the other
methods is the estimand: the generator is a mean of M models of half the units each, and the ablated one has half the
members. That half leaves raises the loss by itself, for all units alike on average, and at random by which members
leave: rows of the code that belong to no unit (`null`) show how much.

Shape letters: Q queries, M members, N units, A ablations.
"""

from typing import Any

import numpy as np

FAMILY = {
    "family": "Encoded ensembles",
    "reads": "encoded",
    "settings": {},
    "methods": {
        "ablation": {
            "label": "Ablation",
            "about": "rise of an encoded ensemble's loss without the members that saw a unit",
            "score": "L_q(ensemble without the members that saw n) - L_q(ensemble)",
            "source": "Dai & Gifford 2024; [ensembles.md](ensembles.md)",
        },
    },
}


def ablation(products: np.ndarray, retained: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """[Q, A] of G [Q, M, M] and the members that each ablation keeps, retained [A, M] bool."""
    weights = retained / retained.sum(1, keepdims=True)  # [A, M]
    without = np.einsum("am,qmk,ak->qa", weights, products, weights, optimize=True)
    return without - products.mean((1, 2))[:, None]
