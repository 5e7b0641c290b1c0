"""Several methods together: the mean of their ranks, or their sum with weights fitted to retrained models.

Shape letters: K methods, Q queries, N training examples, S subsets.
"""

from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import rankdata

FAMILY = {
    "family": "Combined",
    "reads": "methods",
    "settings": {
        "members": {
            "type": "array",
            "minItems": 2,
            "uniqueItems": True,
            "items": {"type": "string"},
            "description": "the methods",
        }
    },
    "methods": {
        "ensemble_rank": {
            "label": "Ensemble rank",
            "about": "mean rank of several methods",
            "score": "mean over methods of the rank of n for q",
            "source": "design choice",
        },
        "ensemble_stack": {
            "label": "Ensemble stack",
            "about": "sum of several methods, fitted to half of the retrained models",
            "score": "non-negative sum of methods, fitted to half of the retrained models and judged by the other",
            "source": "Wolpert 1992; Breiman 1996",
        },
    },
}


def ensemble_rank(
    scores: np.ndarray, predictions: np.ndarray, measured: np.ndarray, settings: dict[str, Any]
) -> np.ndarray:
    """[Q, N] of scores [K, Q, N]: mean over methods of an example's rank, from -1/2 to 1/2; ties get average ranks.

    Nothing is fitted but the members' dampings: predictions [K, S, Q] and measured [S, Q] are not used.
    """
    ranks = rankdata(scores, method="average", axis=2)
    return ((ranks - 0.5) / scores.shape[2] - 0.5).mean(0)


def ensemble_stack(
    scores: np.ndarray, predictions: np.ndarray, measured: np.ndarray, settings: dict[str, Any]
) -> np.ndarray:
    """[Q, N] of scores [K, Q, N], predictions [K, S, Q] and measured losses [S, Q] of the subsets to fit.

    Each method's predictions for groups, and the measured losses, are brought to mean 0 and variance 1 over subsets,
    query by query; weights w >= 0 minimise sum over subsets and queries of (measured - sum_k w_k prediction_k)^2
    (Wolpert 1992, stacked generalisation; Breiman 1996: weights must not be negative). The score is sum_k w_k score_k /
    spread of k's predictions, so that a group's sum is what was fitted.
    """
    spread = predictions.std(1)  # [K, Q]
    scaled = np.divide(scores, spread[..., None], out=np.zeros(scores.shape), where=spread[..., None] > 0)
    return np.einsum("k,kqn->qn", weights(predictions, measured), scaled)


def weights(predictions: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """w [K], not negative; equal ones where no method predicts anything."""
    columns = [_standard(prediction).ravel() for prediction in predictions]
    found, _ = nnls(np.stack(columns, 1), _standard(measured).ravel())
    return found if found.any() else np.full(len(found), 1 / len(found))


def _standard(values: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over subsets of values [S, Q]; 0 where they do not vary."""
    centred, spread = values - values.mean(0), values.std(0)
    return np.divide(centred, spread, out=np.zeros(values.shape), where=spread > 0)
