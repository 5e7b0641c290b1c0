"""Diffusion Attribution Score: how far the network's output at a query moves when an example is removed.

DAS compares the outputs of the model and of the model without n, not their losses (Lin et al. 2024, arXiv 2410.18639):
    score = E_{t, eps} mean_d [J_q Delta_n]_d^2,   Delta_n = (Phi^T Phi - phi_n phi_n^T + lambda I)^{-1} phi_n
J_q is the Jacobian of the output at (x_q, t, eps), and Delta_n the Newton step of leaving n out. Of a query come E rows
J_q^T u (`measurement: output`), with random output vectors u for which the mean of <u, v>^2 is mean_d v_d^2: the score
is the mean over them of the squared kernel score. All rows of J_q would be D a draw.

There, Delta_n = (G^T G)^{-1} g_n r_n / (1 - h_n), of a gradient g_n of one number of the output (their code: its mean
absolute value), the residual r_n as a factor, and the leverage h_n = g_n^T (G^T G)^{-1} g_n. Here phi_n is the gradient
of the loss (`feature: loss`), J_n^T times the residual of every output dim, so that no r_n is left. The leverage of an
output of D dims would be a D x D matrix a draw; what is used is that of phi_n, which takes n out of the kernel.

The score is a size without a sign: no example is said to make a query better, and the sum over a group ignores that
moves cancel. LDS still ranks subsets by it, as if every move hurt.

Shape letters: L dampings, Q queries, E output vectors a query, D output dims, N training examples.
"""

import numpy as np

from attribution.curvature import dual
from attribution.errors import StudyError


def score(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N] >= 0 of query_train [Q E, N], query by query, with E = gram["draws"]; lambda as in TRAK.

    Raises StudyError where rows are not E a query.
    """
    rows, draws = len(gram["query_train"]), int(gram["draws"])
    if rows % draws:
        raise StudyError(f"the gram has {rows} rows, which are not {draws} a query: rerun its gradients")
    layers = (np.square(tau, out=tau) for tau in dual.left_out(gram, dampings))
    return np.stack([tau.reshape(rows // draws, draws, -1).mean(1) for tau in layers])
