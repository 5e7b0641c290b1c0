"""Eigenvalue correction: the exact diagonal of the Fisher in K-FAC's eigenbasis, where K-FAC has a product of means.

With G_r = sum_l b a^T the gradient of row r for an output vector u, and Q_A, Q_B the eigenvectors of the factors,
    Lambda = 1/R sum_r (Q_B^T G_r Q_A)^2, elementwise [O, J]
is the diagonal of Q^T F Q: trace(EK-FAC) = trace(F), and no diagonal in this basis is nearer to F in Frobenius norm.
Positions are always summed within a row before the square: the sharing (expand, reduce) enters by the basis alone.
Source: George et al. 2018, "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis".

Shape letters: R rows, L positions, N examples, O x J shape of a block, I inputs of a layer.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attribution.curvature import convolutions
from attribution.curvature.blocks import Bias, Block, blocks, chunk_size, outer, project, rows_in, rows_out
from attribution.curvature.capture import backward, forward
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.kfac import Basis, merged
from attribution.curvature.rows import Batch, Fisher, fisher_vectors, loss_gradient
from attribution.errors import StudyError


class Eigenvalues(NamedTuple):
    """Sums over `rows` rows of squared rotated gradients, [O, J] a block, float64. Lambda is sums / rows (`mean`)."""

    sums: dict[str, Tensor]
    rows: int


def accumulate_eigenvalues(
    model: nn.Module,
    batches: Iterable[Batch],
    basis: Basis,
    *,
    fisher: Fisher,
    bias: Bias,
    generator: torch.Generator | None,
) -> Eigenvalues:
    """Sums of (Q_B^T G_r Q_A)^2 over the rows r of `batches`, in the basis that `bias` and the factors belong to.

    Products are taken in the model's precision, and summed over batches in float64.
    """
    named = blocks(model, bias)
    sums: dict[str, Tensor] = {}
    rows = 0
    for batch in batches:
        for name, value in _squares(model, batch, named, basis, fisher, generator):
            sums[name] = sums[name].add_(value) if name in sums else value.double()
        rows += batch.rows
    return Eigenvalues(sums, rows)


def _squares(
    model: nn.Module,
    batch: Batch,
    named: dict[str, dict[str, Block]],
    basis: Basis,
    fisher: Fisher,
    generator: torch.Generator | None,
) -> Iterator[tuple[str, Tensor]]:
    """The sums over the rows of one batch, of which nothing stays in memory when the next is taken."""
    output, sites = forward(model, batch)
    for u in fisher_vectors(fisher, output, batch, generator):
        returned = backward(output, sites, u, retain=fisher == "type2")
        for layer, blocks_of in named.items():
            a, b = sites[layer].input, returned[layer]
            for name, block in blocks_of.items():
                yield name, squares(sites[layer].layer, a, b, basis.QA[name].to(a), basis.QB[name].to(b), block)


def accumulate_averaged(model: nn.Module, groups: Iterable[Iterable[Batch]], basis: Basis, bias: Bias) -> Eigenvalues:
    """Sums of (Q_B^T Gbar_n Q_A)^2 over examples n, with Gbar_n an example's loss gradient, mean over its draws.

    The diagonal, in this basis, of E_n[Gbar_n Gbar_n^T]: the loss split of the GGN with an example, not a draw, for a
    datum (Mlodozeniec et al. 2025, App. B), and the matrix that TRAK inverts. A group holds all draws of some examples.
    The mean over E draws adds their covariance / E.
    """
    sums: dict[str, Tensor] = {}
    examples = 0
    for group in groups:
        rotated = rotate(mean_gradients(model, group, bias, loss_gradient), basis)
        for name, G in rotated.items():
            value = G.square().sum(0).double()
            sums[name] = sums[name] + value if name in sums else value
        examples += len(next(iter(rotated.values())))
    return Eigenvalues(sums, examples)


def squares(module: nn.Module, a: Tensor, b: Tensor, QA: Tensor, QB: Tensor, block: Block) -> Tensor:
    """sum_r (Q_B^T G_r Q_A)^2 -> [O, J], of a layer's input `a` and output gradient `b`, [R, ...] each.

    One position: G_r = b a^T has rank one, so its rotated square is an outer product too, and the sum one GEMM.
    Several: G_r is formed in chunks of rows; Q_A is applied before the sum over positions where they are fewer than O.
    """
    rows, pixels = len(a), b.shape[2:]  # of a convolution's output
    b = rows_out(module, b, rows) @ QB  # [R, L, O]
    positions, outputs = b.shape[1:]
    if positions == 1:
        a = project(rows_in(module, a, rows), QA, block)
        return b.squeeze(1).square().mT @ a.squeeze(1).square()
    total = b.new_zeros(outputs, len(QA))
    by_convolution = convolutions.suits(module, a) and block.inputs
    rotated = _by_convolution if by_convolution else _by_places
    vectors = outputs if by_convolution else max(positions, outputs)  # of J numbers, in the largest array of a row
    step = max(1, chunk_size(b.device) // (len(QA) * vectors))
    for a_chunk, b_chunk in zip(a.split(step), b.split(step), strict=True):
        total += rotated(module, a_chunk, b_chunk, QA, block, pixels).square_().sum(0)
    return total


def _by_places(module: nn.Module, a: Tensor, b: Tensor, QA: Tensor, block: Block, pixels: torch.Size) -> Tensor:  # noqa: ARG001
    """sum_l b_l (a_l, 1)^T Q_A of every row of a [R, ...] and b [R, L, O] -> [R, O, J]."""
    places = rows_in(module, a, len(a))  # [R, L, I]
    if b.shape[1] < b.shape[2]:
        return torch.bmm(b.mT, project(places, QA, block))
    return outer(places, b, block) @ QA


def _by_convolution(module: nn.Module, a: Tensor, b: Tensor, QA: Tensor, block: Block, pixels: torch.Size) -> Tensor:
    """The same, and nothing unfolded."""
    if b.shape[1] < b.shape[2]:
        return torch.bmm(b.mT, convolutions.project(module, a, QA, block).mT)
    b = b.mT.unflatten(2, pixels)  # [R, O, ...]
    return convolutions.times(convolutions.outer(module, a, b, len(a), block), QA)


def mean(eigenvalues: Eigenvalues) -> dict[str, Tensor]:
    """Lambda = sums / rows: a [O, J] tensor for every block; StudyError where there are no rows."""
    if not eigenvalues.rows:
        raise StudyError("the eigenvalues hold no rows")
    return {name: total / eigenvalues.rows for name, total in eigenvalues.sums.items()}


def merge(parts: Iterable[Eigenvalues]) -> Eigenvalues:
    """Sums over the rows of all `parts`, taken in one basis and one at a time.

    Raises StudyError where there are none, or they are not of the same blocks.
    """
    return Eigenvalues(*merged((part.sums, part.rows) for part in parts))


def rotate(gradients: Mapping[str, Tensor], basis: Basis) -> dict[str, Tensor]:
    """Q_B^T G Q_A of every gradient [N, O, J], in the gradients' precision; StudyError where blocks differ."""
    return dict(rotated(gradients, basis))


def rotated(gradients: Mapping[str, Tensor], basis: Basis) -> Iterator[tuple[str, Tensor]]:
    """`rotate`, block by block."""
    if gradients.keys() != basis.QA.keys():
        raise StudyError("the gradients and the basis are of different blocks")
    for name, G in gradients.items():
        yield name, basis.QB[name].to(G).mT @ (G @ basis.QA[name].to(G))
