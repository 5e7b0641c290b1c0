"""Diffusion-TracIn (Xie et al. 2024): the change of the query's loss by the steps that an example took part in.

score = sum_k eta_k <g_q, g_n(t_k, eps_k)> over checkpoints k, with g_q the query's loss gradient at the checkpoint, a
mean over timesteps and noise, and g_n the training example's at the one timestep and noise that it met last before the
checkpoint. It is what steps of gradient descent on n take from the query's loss, to first order (TracIn, Pruthi et al.
2020).

From the paper and its released code: the sum, the replayed timestep, the query's evenly spread timesteps, Adam's rate
for eta without Adam's preconditioner. Choices: the noise is replayed too; the query's draws follow the golden-ratio
sequence, each with a noise of its own (there 16 noises at each of 100 timesteps); eta_k is the mean rate of AdamW's
schedule since the checkpoint before; momentum, decay and clipping are left out; weights are raw, not averaged. Factors
common to all n and k, such as the steps between checkpoints or 1 / batch, are left out: they change no ranking.

Shape letters: K checkpoints, Q queries, N training examples.
"""

import numpy as np


def score(products: dict[str, np.ndarray]) -> np.ndarray:
    """[1, Q, N] float64 of replayed [K, Q, N] and learning_rate [K]."""
    return np.einsum("k,kqn->qn", products["learning_rate"], products["replayed"])[None]
