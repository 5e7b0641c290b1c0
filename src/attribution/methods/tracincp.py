"""TracInCP (Pruthi et al. 2020): the inner product of loss gradients, mean over checkpoints of the training.

score = 1/K sum_k <g_q, g_n>, both gradients means over timesteps and noise at checkpoint k. Pruthi et al. weight
checkpoints by their learning rate; Zheng et al. 2024, whose protocol for diffusion models this is, do not.

Choice: weights are raw, not averaged.

Shape letters: K checkpoints, Q queries, N training examples.
"""

import numpy as np


def score(products: dict[str, np.ndarray]) -> np.ndarray:
    """[1, Q, N] float64 of averaged [K, Q, N]."""
    return products["averaged"].mean(0)[None]
