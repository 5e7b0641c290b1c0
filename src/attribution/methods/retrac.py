"""Diffusion-ReTrac (Xie et al. 2024): Diffusion-TracIn with each timestep's gradient scaled to length one.

score = sum_k eta_k <mean over (t, eps) of g_q / |g_q|, g_n / |g_n|>, n at the timestep and noise that it met last
before checkpoint k. A gradient's length depends on its timestep, so TracIn calls those examples influential, for every
query alike, that happened to meet a timestep of long gradients. |score| <= sum_k eta_k.

From the paper and its released code: both sides are scaled, by the norm over all parameters, the query's timestep by
timestep before their mean. Choices: those of tracin.py; the query's gradient is scaled draw by draw, each at another
timestep (there a timestep's mean over 16 noises is).

Shape letters: K checkpoints, Q queries, N training examples.
"""

import numpy as np


def score(products: dict[str, np.ndarray]) -> np.ndarray:
    """[1, Q, N] float64 of directed [K, Q, N], replayed_norm [K, N] and learning_rate [K]; no gradient scores 0."""
    lengths = np.broadcast_to(products["replayed_norm"][:, None], products["directed"].shape)
    cosines = np.divide(products["directed"], lengths, out=np.zeros(lengths.shape), where=lengths > 0)
    return np.einsum("k,kqn->qn", products["learning_rate"], cosines)[None]
