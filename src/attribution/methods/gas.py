"""GAS, gradient aggregated similarity (Hammoudeh & Lowd 2022): TracInCP with cosines in place of inner products.

score = 1/K sum_k <g_q, g_n> / (|g_q| |g_n|), both gradients means over timesteps and noise at checkpoint k, norms over
all parameters; all checkpoints have one weight, as Zheng et al. 2024 run it for diffusion models.

Choice: weights are raw, not averaged.

Shape letters: K checkpoints, Q queries, N training examples.
"""

import numpy as np


def score(products: dict[str, np.ndarray]) -> np.ndarray:
    """[1, Q, N] float64 in [-1, 1] of averaged [K, Q, N], query_norm [K, Q] and averaged_norm [K, N].

    A checkpoint at which either has no gradient counts 0.
    """
    norms = products["query_norm"][:, :, None] * products["averaged_norm"][:, None]
    return np.divide(products["averaged"], norms, out=np.zeros(norms.shape), where=norms > 0).mean(0)[None]
