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
from typing import Literal

import torch
from torch import Tensor, nn

from attribution.curvature import convolutions
from attribution.curvature.blocks import Bias, Block, blocks, chunk, gram, rows_in, rows_out
from attribution.curvature.capture import Site, backward, forward
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
    A: dict[str, Tensor] = {}
    B: dict[str, Tensor] = {}
    rows = 0
    for batch in batches:
        output, sites = forward(model, batch)
        for layer, named in blocks(model, bias).items():
            for name, block in named.items():
                for product, weight in _inputs(sites[layer], sharing, block):
                    _add(A, name, product, weight)
        for u in fisher_vectors(fisher, output, batch, generator):
            returned = backward(output, sites, u, retain=fisher == "type2")
            for layer, named in blocks(model, bias).items():
                b = _outputs(sites[layer].layer, returned[layer], sharing, batch.rows)
                product = gram(b, OUTPUTS)
                for name in named:
                    _add(B, name, product, 1.0)
        rows += batch.rows
    return Factors(A, B, rows)


def merge(parts: Iterable[Factors]) -> Factors:
    """Factors of all the rows of `parts` together; StudyError where they are not of the same blocks."""
    parts = list(parts)
    if not parts or any(part.A.keys() != parts[0].A.keys() for part in parts):
        raise StudyError("factors to merge are none, or of different blocks")
    return Factors(
        A={name: sum(part.A[name] for part in parts) for name in parts[0].A},
        B={name: sum(part.B[name] for part in parts) for name in parts[0].B},
        rows=sum(part.rows for part in parts),
    )


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


def _inputs(site: Site, sharing: Sharing, block: Block) -> Iterator[tuple[Tensor, float]]:
    """The outer products that make A, summed over a chunk of rows, [J, J], and the weight 1/L or 1 of each sum."""
    module, a = site.layer, site.input
    if sharing == "expand" and convolutions.suits(module, a) and convolutions.has_gram(module):
        yield convolutions.gram(module, a, block), 1 / (site.shape[2] * site.shape[3])
        return
    for part in a.split(chunk(module, a, len(a))):
        if sharing == "expand":
            places = rows_in(module, part, 1)[0]
            yield gram(places, block), len(part) / len(places)
        else:
            yield gram(rows_in(module, part, len(part)).mean(1), block), 1.0


def _outputs(module: nn.Module, b: Tensor, sharing: Sharing, rows: int) -> Tensor:
    """The vectors whose outer products make B, [K, O]."""
    if sharing == "reduce":
        return rows_out(module, b, rows).sum(1)
    return rows_out(module, b, 1)[0] if isinstance(module, nn.Linear) else b.transpose(0, 1).flatten(1).mT


def _add(sums: dict[str, Tensor], name: str, value: Tensor, weight: float) -> None:
    value = value.double() * weight
    sums[name] = sums[name] + value if name in sums else value


def _eigh(sums: dict[str, Tensor], rows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    values, vectors = {}, {}
    for name, total in sums.items():
        if not total.isfinite().all():
            raise StudyError(f"a factor of block {name!r} is not finite: the model's activations or gradients overflow")
        eigenvalues, vectors[name] = torch.linalg.eigh(total.double() / rows)
        values[name] = eigenvalues.clamp(min=0)
    return values, vectors
