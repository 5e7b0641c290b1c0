"""TRAK (Park et al. 2023, Eq. 13; Zheng et al. 2024) and what follows from its kernel, solved as an N x N problem.

tau = phi_q^T (Phi^T Phi + lambda I)^{-1} phi_n with Phi [N, P] the training gradients of a feature, the loss in the
original (curvature/dual.py). With `projection: none` there is no noise from one; else phi are the sketches of
curvature/sketch.py. The classification weight (1 - p) of the original has no counterpart in a regression loss.

- D-TRAK (Zheng et al. 2024): gradients of something that is not the loss, for queries and training examples alike
  (`measurement`, `feature`): the mean squared network output, or its mean absolute value. No target noise enters.
- Journey-TRAK (Georgiev et al. 2023): how a query came to be. The query's gradients are of the loss at the clean images
  that the model predicts along its sampling trajectory, averaged over its steps (`measurement: journey`).
- Relative influence (Barshan et al. 2020; Zheng et al. 2024): divided by how far the example moves the parameters, so
  that an outlier that moves every query no longer ranks high for each of them.
- Renormalised influence (Hammoudeh & Lowd 2022): divided by the length of the example's gradient.
- DAS, below.

Shape letters: L dampings, Q queries, E output vectors a query, D output dims, N training examples, P parameters.
"""

from typing import Any

import numpy as np

from attribution.curvature import dual
from attribution.errors import StudyError

FAMILY = {
    "family": "Kernels",
    "reads": "gram",
    "settings": {
        "measurement": {"$ref": "#/$defs/kernel_measurement", "default": "loss"},
        "feature": {"$ref": "#/$defs/feature", "default": "loss"},
        "projection": {"$ref": "#/$defs/projection", "default": "none"},
        "damping": {"$ref": "#/$defs/damping", "default": 0.1},
        "dampings": {"$ref": "#/$defs/dampings", "default": [0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    },
    "methods": {
        "trak": {
            "label": "TRAK",
            "about": "loss gradients with their inverse kernel",
            "score": "g_q Phi^T (Phi Phi^T + lambda I)^-1",
            "source": "Park et al. 2023, Eq. 13; Zheng et al. 2024",
            "variants": {"count": "TRAK, count-sketch", "rademacher": "TRAK, projected"},
        },
        "dtrak": {
            "label": "D-TRAK",
            "about": "trak of squared network outputs",
            "score": "the same with gradients of mean f^2, of mean |f|",
            "source": "Zheng et al. 2024",
            "settings": {"measurement": {"default": "squared_norm"}, "feature": {"default": "squared_norm"}},
            "variants": {"l1": "D-TRAK, L1"},
        },
        "journey_trak": {
            "label": "Journey-TRAK",
            "about": "trak of the clean images predicted while sampling",
            "score": "TRAK with g_q at the clean images predicted along the query's sampling trajectory",
            "source": "Georgiev et al. 2023",
            "settings": {"measurement": {"default": "journey"}},
        },
        "relative_if": {
            "label": "RelatIF",
            "about": "trak over the length of the parameter change",
            "score": "TRAK / |(Phi^T Phi + lambda I)^-1 g_n|",
            "source": "Barshan et al. 2020",
        },
        "renormalised_if": {
            "label": "Renormalised",
            "about": "trak over the length of the gradient",
            "score": "TRAK / |g_n|",
            "source": "Hammoudeh & Lowd 2022",
        },
        "das": {
            "label": "DAS",
            "about": "predicted change of the network's output",
            "score": "mean square over (t, eps) and output dims of J_q (Phi^T Phi - g_n g_n^T + lambda I)^-1 g_n",
            "source": "Lin et al. 2024, arXiv 2410.18639",
            "settings": {"measurement": {"$ref": "#/$defs/output_measurement", "default": "output"}},
        },
    },
}


def score(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """TRAK, D-TRAK and Journey-TRAK: [L, Q, N], one layer for each lambda relative to the kernel's mean diagonal."""
    return dual.scores(gram, settings["dampings"])


def relative_if(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[L, Q, N]: tau / |(Phi^T Phi + lambda I)^{-1} phi_n|."""
    return dual.relative(gram, settings["dampings"])


def renormalised_if(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[L, Q, N]: tau / |phi_n|."""
    return dual.renormalised(gram, settings["dampings"])


def das(gram: dict[str, np.ndarray], settings: dict[str, Any]) -> np.ndarray:
    """[L, Q, N] >= 0 of query_train [Q E, N], query by query, with E = gram["draws"]; lambda as in TRAK.

    DAS compares the outputs of the model and of the model without n, not their losses (Lin et al. 2024):
        score = E_{t, eps} mean_d [J_q Delta_n]_d^2,   Delta_n = (Phi^T Phi - phi_n phi_n^T + lambda I)^{-1} phi_n
    J_q is the Jacobian of the output at (x_q, t, eps), and Delta_n the Newton step of leaving n out. Of a query come E
    rows J_q^T u (`measurement: output`), with random output vectors u for which the mean of <u, v>^2 is mean_d v_d^2:
    the score is the mean over them of the squared kernel score. All rows of J_q would be D a draw.

    There, Delta_n = (G^T G)^{-1} g_n r_n / (1 - h_n), of a gradient g_n of one number of the output (their code: its
    mean absolute value), the residual r_n as a factor, and the leverage h_n = g_n^T (G^T G)^{-1} g_n. Here phi_n is the
    gradient of the loss (`feature: loss`), J_n^T times the residual of every output dim, so that no r_n is left. The
    leverage of an output of D dims would be a D x D matrix a draw; what is used is that of phi_n, which takes n out of
    the kernel.

    The score is a size without a sign: no example is said to make a query better, and the sum over a group ignores that
    moves cancel. LDS still ranks subsets by it, as if every move hurt. Raises StudyError where rows are not E a query.
    """
    rows, draws = len(gram["query_train"]), int(gram["draws"])
    if rows % draws:
        raise StudyError(f"the gram has {rows} rows, which are not {draws} a query: rerun its gradients")
    layers = (np.square(tau, out=tau) for tau in dual.left_out(gram, settings["dampings"]))
    return np.stack([tau.reshape(rows // draws, draws, -1).mean(1) for tau in layers])
