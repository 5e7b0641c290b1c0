"""Influence with a Gauss-Newton matrix without Kronecker structure: its diagonal, that of sampled rows, or all of it.

tau = g_q^T (F + lambda I)^{-1} g_n, dampings relative to the mean eigenvalue.

Shape letters: L dampings, Q queries, N training examples, n those of a part, R rows, P parameters, O x J shape of a
block.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from attribution.curvature import diagonal as diagonals
from attribution.curvature import ggn, woodbury
from attribution.curvature.blocks import Bias
from attribution.curvature.ekfac import mean
from attribution.curvature.rows import Batch
from attribution.curvature.solve import relative

FAMILY = {
    "family": "Curvature",
    "reads": "gradients",
    "settings": {
        "fisher": {
            "enum": ["mc", "type2", "empirical"],
            "description": "which gradients the Fisher matrix is the covariance of",
            "default": "mc",
        },
        "measurement": {"$ref": "#/$defs/measurement", "default": "loss"},
        "draws": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000000,
            "description": "draws E of timestep and noise for each example",
            "default": 4,
        },
        "damping": {"$ref": "#/$defs/damping", "default": 0.1},
        "dampings": {"$ref": "#/$defs/dampings", "default": [0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0]},
    },
    "methods": {
        "diagonal": {
            "label": "Diagonal GGN",
            "about": "influence with the diagonal of the Fisher matrix",
            "score": "g_q^T (diag F + lambda I)^-1 g_n",
            "source": "design choice",
            "variants": {"loss": "Diagonal, loss split"},
        },
        "sampled_ggn": {
            "label": "Sampled GGN",
            "about": "influence with the Fisher matrix of sampled rows",
            "score": "g_q^T (U^T U / R + lambda I)^-1 g_n, R sampled rows, by Woodbury",
            "source": "reference for K-FAC and EK-FAC",
            "formerly": {"exact_ggn": {"": "Exact GGN", "loss": "Exact GGN, loss split"}},
            "variants": {"loss": "Sampled GGN, loss split"},
        },
        "full_ggn": {
            "label": "Full GGN",
            "about": "influence with the whole Fisher matrix of a small model",
            "score": "g_q^T (F + lambda I)^-1 g_n, F the whole P x P matrix, P <= 8192",
            "source": "Schraudolph 2002; reference for all of these",
            "formerly": {
                "dense_ggn": {
                    "": "Whole GGN",
                    "type2": "Whole GGN, exact Fisher",
                    "loss": "Whole GGN, loss split",
                }
            },
            "settings": {"fisher": {"default": "type2"}},
            "variants": {"type2": "Full GGN, exact Fisher", "loss": "Full GGN, loss split"},
        },
    },
}

Gradients = dict[str, Tensor]  # block -> [Q or n, O, J]


def diagonal(
    queries: Gradients,
    parts: Iterable[Gradients],
    model: nn.Module,
    batches: Iterable[Batch],
    bias: Bias,
    settings: dict[str, Any],
) -> Tensor:
    """[L, Q, N]: sum_i g_q,i g_n,i / (F_ii + lambda). Memory holds the diagonal and one part's gradients."""
    squares = diagonals.accumulate(model, batches, fisher=settings["fisher"], bias=bias, generator=None)
    added = relative(mean(squares), settings["dampings"], "model")
    return torch.cat([diagonals.sweep(queries, part, squares, added) for part in parts], 2)


def sampled_ggn(
    queries: Gradients,
    parts: Iterable[Gradients],
    model: nn.Module,
    batches: Iterable[Batch],
    bias: Bias,
    settings: dict[str, Any],
) -> Tensor:
    """[L, Q, N] with F = U^T U / R of pseudo-gradient rows U [R, P], inverted without any structure (Woodbury).

    Exact for the sampled rows; directions that no row has are damped by lambda alone, so it needs many rows or damping.
    Memory holds U in the model's precision, R <= curvature.woodbury.LIMIT, and one part's gradients.
    """
    batches = list(batches)
    rows = sum(batch.rows for batch in batches)
    root = woodbury.accumulate(model, batches, fisher=settings["fisher"], bias=bias, generator=None, rows=rows)
    spectrum = woodbury.spectrum(root)
    unit = woodbury.mean_eigenvalue(spectrum)
    return woodbury.scores(queries, parts, root, spectrum, [ratio * unit for ratio in settings["dampings"]])


def full_ggn(
    queries: Gradients,
    parts: Iterable[Gradients],
    model: nn.Module,
    batches: Iterable[Batch],
    bias: Bias,
    settings: dict[str, Any],
) -> Tensor:
    """[L, Q, N] with F [P, P] over the draws that the config asks for; exact in the outputs with fisher type2.

    At most curvature.ggn.LIMIT parameters. Memory holds F and its eigenvectors in float64, and the gradients [R, P] of
    a batch's rows.
    """
    factors = ggn.accumulate(model, batches, fisher=settings["fisher"], bias=bias, generator=None)
    unit = ggn.mean_eigenvalue(factors)
    return ggn.dense_scores(queries, parts, factors, [ratio * unit for ratio in settings["dampings"]])
