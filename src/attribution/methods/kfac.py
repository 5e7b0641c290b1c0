"""Influence with a Kronecker-factored GGN (Mlodozeniec et al. 2025): K-FAC, and EK-FAC with corrected eigenvalues.

tau = grad m_q^T (F + lambda I)^{-1} grad l_n with the exact damping, block by block in the eigenbasis of the factors.

Shape letters: L dampings, Q queries, N training examples, O x J shape of a block.
"""

from typing import Any

from torch import Tensor

from attribution.curvature.ekfac import Eigenvalues, mean
from attribution.curvature.kfac import Basis, kfac_eigenvalues
from attribution.curvature.solve import relative, sweep

FAMILY = {
    "family": "EK-FAC",
    "reads": "eigenbasis",
    "settings": {
        "curvature": {"type": "string", "description": "one of curvature.kinds", "default": "model"},
        "measurement": {"$ref": "#/$defs/measurement", "default": "loss"},
        "damping": {"$ref": "#/$defs/damping", "default": 0.1},
        "dampings": {
            "$ref": "#/$defs/dampings",
            "default": [0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0],
        },
        "unit": {
            "enum": ["model", "block"],
            "description": "whose mean eigenvalue a damping is relative to",
            "default": "model",
        },
        "bits": {"enum": [8, 32], "description": "of an entry of a preconditioned query gradient", "default": 32},
    },
    "methods": {
        "kfac": {
            "label": "K-FAC",
            "about": "influence with a Kronecker-factored Fisher matrix",
            "score": "g_q^T (F + lambda I)^-1 g_n, F = B (x) A a block",
            "source": "Martens & Grosse 2015; Mlodozeniec et al. 2025",
            "family": "Curvature",
            "variants": {
                "reduce": "K-FAC, reduce",
                "loss": "K-FAC, loss split",
                "loss_reduce": "K-FAC, loss split, reduce",
                "type2": "K-FAC, exact Fisher",
            },
        },
        "ekfac": {
            "label": "EK-FAC",
            "about": "kfac with corrected eigenvalues",
            "score": "the same with F's exact diagonal in K-FAC's eigenbasis",
            "source": "George et al. 2018; Mlodozeniec et al. 2025",
            "variants": {
                "elbo": "EK-FAC of the ELBO",
                "simplified_elbo": "EK-FAC of simplified ELBO",
                "reduce": "EK-FAC, reduce",
                "loss": "EK-FAC, loss split",
                "averaged": "EK-FAC, averaged draws",
                "type2": "EK-FAC, exact Fisher",
                "block": "EK-FAC, damping per layer",
                "8bit": "EK-FAC in 8 bits",
                "trajectory": "EK-FAC of the trajectory",
                "squared_norm": "EK-FAC of the squared norm",
            },
        },
    },
}

Rotated = dict[str, Tensor]  # block -> gradients [Q or N, O, J] in the eigenbasis


def kfac(queries: Rotated, train: Rotated, basis: Basis, corrected: Eigenvalues, settings: dict[str, Any]) -> Tensor:
    """[L, Q, N] with the factors' own eigenvalues: a block's are the products of those of B and A."""
    return _sweep(queries, train, kfac_eigenvalues(basis), settings)


def ekfac(queries: Rotated, train: Rotated, basis: Basis, corrected: Eigenvalues, settings: dict[str, Any]) -> Tensor:
    """[L, Q, N] with the exact diagonal in K-FAC's eigenbasis (George et al. 2018): the paper's "K-FAC influence"."""
    return _sweep(queries, train, mean(corrected), settings)


def _sweep(queries: Rotated, train: Rotated, eigenvalues: dict[str, Tensor], settings: dict[str, Any]) -> Tensor:
    """[L, Q, N], preconditioned queries in `bits` bits; dampings relative to the mean eigenvalue of `unit`."""
    damped = relative(eigenvalues, settings["dampings"], settings["unit"])
    return sweep(queries, train, eigenvalues, damped, settings["bits"])
