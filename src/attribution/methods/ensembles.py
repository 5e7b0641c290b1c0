"""Ensembles: of one method over models of other seeds, and of several methods.

Shape letters: M models, K methods, L dampings, Q queries, N training examples, S subsets.
"""

import numpy as np

FAMILY = {
    "family": "Ensembles",
    "reads": "seeds",
    "settings": {"of": {"type": "string", "description": "the method"}},
    "methods": {
        "ensemble": {
            "label": "Ensemble",
            "about": "a method's scores averaged over models, as ensemble_trak",
            "score": "the mean of a method's scores over models of other seeds",
            "source": "Park et al. 2023; Zheng et al. 2024",
        },
    },
}


def ensemble(members: list[np.ndarray]) -> np.ndarray:
    """[L, Q, N] float64, the mean of M arrays of that shape.

    Each model's score is its own estimate of what removing an example does; what only one seed says is averaged away.
    Park et al. 2023 average TRAK's Q matrix and its scores apart; a regression loss has no Q matrix, and what is left
    is the mean of the scores, as in Zheng et al. 2024. Their models are trained on random subsets, these on all
    examples.
    """
    return np.mean(members, axis=0, dtype=np.float64)
