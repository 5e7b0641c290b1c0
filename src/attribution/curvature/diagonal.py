"""The diagonal of the curvature in the parameters themselves: the cheapest inverse, and EK-FAC without a rotation.

    diag(F)_ij = 1/R sum_r (G_r)_ij^2,   G_r = sum_l b a^T the gradient of row r for an output vector u
is EK-FAC's Lambda in the basis of the identity, so it is accumulated by ekfac.py with Q_A = I and Q_B = I. Gradients
need no rotation then, and scores are solve.sweep of the gradients themselves:
    score[q, n] = sum_ij (g_q)_ij (g_n)_ij / (diag(F)_ij + damping)
Source: LeCun, Denker, Solla 1990, "Optimal brain damage" (the diagonal); Becker & LeCun 1989 (as a preconditioner).

Shape letters: R rows, L positions a row, O x J shape of a block, Q queries, N examples, K dampings.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from attribution.curvature import solve
from attribution.curvature.blocks import Bias, blocks, layers
from attribution.curvature.ekfac import Eigenvalues, accumulate_eigenvalues, mean
from attribution.curvature.kfac import Basis
from attribution.curvature.rows import Batch, Fisher


def identity(model: nn.Module, bias: Bias) -> Basis:
    """The basis in which nothing is rotated, QA = I [J, J] and QB = I [O, O] a block; blocks of one size share it.

    Its own eigenvalues are ones: it belongs to no factors.
    """
    eyes: dict[tuple, Tensor] = {}
    basis = Basis(QA={}, QB={}, a={}, b={})
    for name, layer in layers(model).items():
        weight = layer.weight.detach()
        for block, columns in blocks(model, bias)[name].items():
            sizes = weight[0].numel() * columns.inputs + columns.ones, len(weight)
            for size, vectors, values in zip(sizes, (basis.QA, basis.QB), (basis.a, basis.b), strict=True):
                kind = size, weight.dtype, weight.device
                if kind not in eyes:
                    eyes[kind] = torch.eye(size, dtype=weight.dtype, device=weight.device)
                vectors[block], values[block] = eyes[kind], weight.new_ones(size)
    return basis


def accumulate(
    model: nn.Module, batches: Iterable[Batch], *, fisher: Fisher, bias: Bias, generator: torch.Generator | None
) -> Eigenvalues:
    """Sums of squared gradients of single rows, [O, J] a block in float64; ekfac.mean gives the diagonal of F.

    Any Fisher of rows.py; ekfac.merge adds those of other rows. The errors are those of ekfac.accumulate_eigenvalues.
    """
    return accumulate_eigenvalues(model, batches, identity(model, bias), fisher=fisher, bias=bias, generator=generator)


def sweep(
    query: dict[str, Tensor], train: dict[str, Tensor], diagonal: Eigenvalues, dampings: Sequence[float]
) -> Tensor:
    """[K, Q, N] scores of gradients [Q, O, J] and [N, O, J] a block, not rotated; dampings as in solve.sweep.

    solve.relative_damping(ekfac.mean(diagonal), ratio) turns a ratio into a damping: trace(diag F) = trace(F).
    """
    return solve.sweep(query, train, mean(diagonal), dampings)
