"""Kronecker factors of the GGN: each block of curvature is B (x) A, in row-major flattening of its [O, J] parameters.

With a the inputs of a layer and b = J^T u what vectors u (rows.py) return to its output, over R rows of L positions:
    expand  A = 1/(R L) sum_r sum_l a a^T                      B = 1/R sum_r sum_l b b^T
    reduce  A = 1/R sum_r (mean_l a) (mean_l a)^T              B = 1/R sum_r (sum_l b) (sum_l b)^T
Expand is exact for deep linear networks applied position by position with a loss a position, reduce where positions are
averaged before the loss, both where L = 1; and for a single row with L = 1 whatever the network.
Source: Martens & Grosse 2015; Eschenhagen et al. 2023, "Kronecker-factored approximate curvature for modern neural
network architectures" (expand, reduce); Mlodozeniec et al. 2025 (the GGN of a diffusion model's output).

Sums, not means, are kept, so that factors of disjoint rows add up to the factors of all: accumulation is map-reduce.
Products of a batch are taken in the model's precision, and summed over batches in float64.

Shape letters: R rows, L positions, O x J shape of a block.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attribution.curvature import convolutions
from attribution.curvature.blocks import Bias, Block, blocks, chunk, gram, pointwise, rows_in, rows_out, unordered
from attribution.curvature.capture import backward, forward
from attribution.curvature.rows import Batch, Fisher, fisher_vectors
from attribution.errors import StudyError

Sharing = Literal["expand", "reduce"]
OUTPUTS = Block(inputs=True, ones=False)  # for B: no column of ones


@dataclass(frozen=True)
class Factors:
    """Sums over `rows` rows: A [J, J] and B [O, O] of every block, float64. The factors are A / rows and B / rows."""

    A: dict[str, Tensor]
    B: dict[str, Tensor]
    rows: int


@dataclass(frozen=True)
class Basis:
    """Eigenvectors as columns, QA [J, J] and QB [O, O], with eigenvalues a [J] and b [O] >= 0, of every block."""

    QA: dict[str, Tensor]
    QB: dict[str, Tensor]
    a: dict[str, Tensor]
    b: dict[str, Tensor]


def accumulate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    fisher: Fisher,
    sharing: Sharing,
    bias: Bias,
    generator: torch.Generator | None,
) -> Factors:
    """Factor sums over the rows of `batches`; how rows fall into batches does not matter, given their pseudo-targets.

    `generator` feeds the "mc" Fisher where a batch holds no `pseudo` of its own. Raises StudyError for unknown choices.
    """
    if sharing not in ("expand", "reduce"):
        raise StudyError(f"sharing is {sharing!r}: choose expand or reduce")
    named = blocks(model, bias)
    sums: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}, "lines": {}}
    rows = 0
    for batch in batches:
        for kind, name, product, weight in _products(model, batch, named, fisher, sharing, generator):
            _add(sums[kind], name, product, weight)
        rows += batch.rows
    for layer, products in sums["lines"].items():
        module = model.get_submodule(layer)
        sums["A"] |= {name: convolutions.gram(module, products, block) for name, block in named[layer].items()}
    return Factors({name: sums["A"][name] for name in sums["B"]}, sums["B"], rows)


def merge(parts: Iterable[Factors]) -> Factors:
    """Factors of all the rows of `parts` together, taken one at a time.

    Raises StudyError where there are none, or they are not of the same blocks.
    """
    sums, rows = merged(
        (
            {("A", name): value for name, value in part.A.items()}
            | {("B", name): value for name, value in part.B.items()},
            part.rows,
        )
        for part in parts
    )
    A, B = ({name: value for (side, name), value in sums.items() if side == wanted} for wanted in "AB")
    return Factors(A=A, B=B, rows=rows)


def merged(parts: Iterable[tuple[dict[Any, Tensor], int]]) -> tuple[dict[Any, Tensor], int]:
    """Sums of tensors by name, and of rows, over (tensors, rows) parts: memory holds the sums and one part."""
    total, rows = None, 0
    for tensors, count in parts:
        if total is None:
            total = {name: 0 + value for name, value in tensors.items()}
        elif tensors.keys() != total.keys():
            raise StudyError("sums to merge are of different blocks")
        else:
            for name, value in tensors.items():
                total[name] += value
        rows += count
    if total is None:
        raise StudyError("sums to merge are none, or of different blocks")
    return total, rows


def eigenbasis(factors: Factors) -> Basis:
    """Eigendecompositions of A / rows and B / rows in float64; eigenvalues that rounding made negative are 0.

    Raises StudyError where a factor is not finite.
    """
    if not factors.rows:
        raise StudyError("the factors hold no rows")
    a, QA = _eigh(factors.A, factors.rows)
    b, QB = _eigh(factors.B, factors.rows)
    return Basis(QA=QA, QB=QB, a=a, b=b)


def kfac_eigenvalues(basis: Basis) -> dict[str, Tensor]:
    """Eigenvalues of B (x) A in its eigenbasis, b a^T: a [O, J] tensor for every block."""
    return {name: torch.outer(basis.b[name], basis.a[name]) for name in basis.a}


def _products(
    model: nn.Module,
    batch: Batch,
    named: dict[str, dict[str, Block]],
    fisher: Fisher,
    sharing: Sharing,
    generator: torch.Generator | None,
) -> Iterator[tuple[str, str, Tensor, float]]:
    """The products of one batch: of which sum ("lines" of a layer, "A" or "B" of a block), and their weight in it.

    What a batch leaves in memory is gone when the next is taken.
    """
    output, sites = forward(model, batch)
    for layer, blocks_of in named.items():
        site = sites[layer]
        if sharing == "expand" and convolutions.has_gram(site.layer, site.input):
            yield "lines", layer, convolutions.line_products(site.input), 1 / (site.shape[2] * site.shape[3])
            continue
        for name, block in blocks_of.items():
            for product, weight in _inputs(site.layer, site.input, sharing, block):
                yield "A", name, product, weight
    for u in fisher_vectors(fisher, output, batch, generator):
        returned = backward(output, sites, u, retain=fisher == "type2")
        for layer, blocks_of in named.items():
            product = gram(_outputs(sites[layer].layer, returned[layer], sharing, batch.rows), OUTPUTS)
            for name in blocks_of:
                yield "B", name, product, 1.0


def _inputs(module: nn.Module, a: Tensor, sharing: Sharing, block: Block) -> Iterator[tuple[Tensor, float]]:
    """The outer products that make A, summed over a chunk of rows, [J, J], and the weight 1/L or 1 of each sum."""
    for part in a.split(chunk(module, a, len(a))):
        if sharing == "expand":
            places = unordered(module, part) if pointwise(module) else rows_in(module, part, 1)[0]
            yield gram(places, block), len(part) / len(places)
        else:
            yield gram(rows_in(module, part, len(part)).mean(1), block), 1.0


def _outputs(module: nn.Module, b: Tensor, sharing: Sharing, rows: int) -> Tensor:
    """The vectors whose outer products make B, [K, O]."""
    if sharing == "reduce":
        return rows_out(module, b, rows).sum(1)
    return unordered(module, b)


def _add(sums: dict[str, Tensor], name: str, value: Tensor, weight: float) -> None:
    """Adds weight * value to the sum of that name, in float64."""
    if name in sums:
        sums[name].add_(value, alpha=weight)
    else:
        sums[name] = value.double() * weight


def _eigh(sums: dict[str, Tensor], rows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    values, vectors = {}, {}
    for name, total in sums.items():
        if not total.isfinite().all():
            raise StudyError(f"a factor of block {name!r} is not finite: the model's activations or gradients overflow")
        eigenvalues, vectors[name] = torch.linalg.eigh(total.double() / rows)
        values[name] = eigenvalues.clamp(min=0)
    return values, vectors
