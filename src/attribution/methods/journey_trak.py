"""Journey-TRAK: TRAK for how a query came to be, not only for what it is (Georgiev et al. 2023).

TRAK's kernel of the training examples' loss gradients; the query's are loss gradients at the clean images that the
model predicts along the query's sampling trajectory, averaged over its steps (`measurement: journey`, `feature: loss`).

Shape letters: L dampings, Q queries, N training examples.
"""

import numpy as np

from attribution.curvature import dual


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N], one layer for each lambda relative to the kernel's mean diagonal, all > 0."""
    return dual.scores(gram, dampings)
