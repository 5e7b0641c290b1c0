"""Sums over checkpoints of the training: Diffusion-TracIn and ReTrac (Xie et al. 2024), TracInCP and GAS.

TracIn and ReTrac take the training example's gradient g_n(t_k, eps_k) at the one timestep and noise that it met last
before checkpoint k, and the query's as a mean over timesteps and noise; TracInCP and GAS take means for both. From Xie
et al. and their released code: the sum, the replayed timestep, the query's evenly spread timesteps, Adam's rate for eta
without Adam's preconditioner. Choices: the noise is replayed too; the query's draws follow the golden-ratio sequence,
each with a noise of its own (there 16 noises at each of 100 timesteps); eta_k is the mean rate of AdamW's schedule
since the checkpoint before; momentum, decay and clipping are left out; weights are raw, not averaged. Factors common to
all n and k, such as the steps between checkpoints or 1 / batch, are left out: they change no ranking.

Shape letters: K checkpoints, Q queries, N training examples.
"""

from typing import Any

import numpy as np

FAMILY = {
    "family": "Gradients",
    "reads": "checkpoints",
    "settings": {},
    "methods": {
        "tracin": {
            "label": "TracIn",
            "about": "inner products at checkpoints, of the noise that each then met",
            "score": "sum over checkpoints of eta_k <g_q, g_n(t_k, eps_k)>, at the timestep and noise that n met last",
            "source": "Xie et al. 2024 (Diffusion-TracIn); Pruthi et al. 2020",
        },
        "retrac": {
            "label": "ReTrac",
            "about": "tracin of training gradients of length 1",
            "score": "the same with every draw's gradient scaled to length one, on both sides",
            "source": "Xie et al. 2024 (Diffusion-ReTrac)",
        },
        "tracincp": {
            "label": "TracInCP",
            "about": "inner products at checkpoints",
            "score": "mean over checkpoints of <g_q, g_n>, both means over draws",
            "source": "Pruthi et al. 2020; Zheng et al. 2024",
        },
        "gas": {
            "label": "GAS",
            "about": "cosines at checkpoints",
            "score": "the same with cosines",
            "source": "Hammoudeh & Lowd 2022; Zheng et al. 2024",
        },
    },
}


def tracin(products: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] float64 of replayed [K, Q, N] and learning_rate [K].

    sum_k eta_k <g_q, g_n(t_k, eps_k)>: what steps of gradient descent on n take from the query's loss, to first order.
    """
    return np.einsum("k,kqn->qn", products["learning_rate"], products["replayed"])[None]


def retrac(products: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] float64 of directed [K, Q, N], replayed_norm [K, N] and learning_rate [K]; no gradient scores 0.

    sum_k eta_k <mean over (t, eps) of g_q / |g_q|, g_n / |g_n|>, norms over all parameters: |score| <= sum_k eta_k. A
    gradient's length depends on its timestep, so TracIn calls those examples influential, for every query alike, that
    happened to meet a timestep of long gradients. The query's gradient is scaled draw by draw, each at another timestep
    (there a timestep's mean over 16 noises is).
    """
    lengths = np.broadcast_to(products["replayed_norm"][:, None], products["directed"].shape)
    cosines = np.divide(products["directed"], lengths, out=np.zeros(lengths.shape), where=lengths > 0)
    return np.einsum("k,kqn->qn", products["learning_rate"], cosines)[None]


def tracincp(products: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] float64 of averaged [K, Q, N]: 1/K sum_k <g_q, g_n>.

    Pruthi et al. weight checkpoints by their learning rate; Zheng et al. 2024, whose protocol for diffusion models this
    is, do not.
    """
    return products["averaged"].mean(0)[None]


def gas(products: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[1, Q, N] float64 in [-1, 1] of averaged [K, Q, N], query_norm [K, Q] and averaged_norm [K, N]: 1/K sum_k of
    cosines, norms over all parameters. A checkpoint at which either has no gradient counts 0.
    """
    norms = products["query_norm"][:, :, None] * products["averaged_norm"][:, None]
    return np.divide(products["averaged"], norms, out=np.zeros(norms.shape), where=norms > 0).mean(0)[None]
