"""The exact damped curvature of models too large for a P x P matrix, from as many of its rows as memory holds.

With U [V, P] the gradients of single rows, U^T U / R is the curvature F of those R rows (rows.py: V = R for "mc" and
"empirical", V = R D for "type2"): an estimate of the GGN for "mc", the GGN itself for "type2". By Woodbury's identity
    (F + lambda I)^{-1} = 1/lambda [I - U^T (R lambda I + U U^T)^{-1} U]
needs U U^T [V, V] alone. With U U^T / R = W diag(s) W^T, the unit eigenvectors of F are v_i = U^T w_i / sqrt(R s_i), so
that every damping follows from one eigendecomposition:
    score[q, n] = sum_i <q, v_i> <v_i, g_n> / (s_i + lambda)  +  (<q, g_n> - sum_i <q, v_i> <v_i, g_n>) / lambda
This is the identity with its two parts apart: what the rows span, where nothing cancels at a small damping, and what
they do not, which is absent where the rows span everything.

Limits. Fewer rows than parameters never sample P - V directions: these are damped by lambda alone, whatever their
curvature, so that scores at small dampings are those of the unsampled directions. An eigenvalue is known to about
1e-16 s_max, and a score to about 1e-16 s_max / lambda of |q| |g| / lambda. U may be float32: its products are taken and
summed in float64, so rounding of U is a change of the rows, not of the algebra.
Source: Woodbury 1950; Schraudolph 2002 (GGN); Ren & Goldfarb 2019, "Efficient subsampled Gauss-Newton and natural
gradient methods for training neural networks" (the identity for Gauss-Newton and Fisher matrices).

Shape letters: R rows, V vectors (rows of U), K rank of U, P parameters, D output dims of a row, Q queries, N examples,
L dampings, O x J shape of a block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias, gram
from attribution.curvature.capture import backward, forward
from attribution.curvature.gradients import group_gradients
from attribution.curvature.inner import inner
from attribution.curvature.kfac import OUTPUTS
from attribution.curvature.rows import Batch, Fisher, fisher_vectors
from attribution.errors import StudyError

LIMIT = 8192  # vectors: U U^T then takes half a gigabyte, and its eigendecomposition minutes
COLUMNS = 2048  # parameters that are held in float64 at a time: 64 MB of 4,000 vectors


@dataclass(frozen=True)
class Root:
    """U [V, O, J] of every block, in the model's precision, with F = U^T U / rows."""

    U: dict[str, Tensor]
    rows: int


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues s [K] > 0 of F, the eigenvectors w [V, K] of U U^T / R that they belong to, and what F is made of."""

    values: Tensor
    vectors: Tensor
    rows: int
    parameters: int

    @property
    def complete(self) -> bool:
        """Whether the rows span every direction: then no damping is needed for an inverse."""
        return len(self.values) == self.parameters


def accumulate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    fisher: Fisher,
    bias: Bias,
    generator: torch.Generator | None,
    rows: int,
) -> Root:
    """U over the `rows` rows of `batches`: written where it stays, so that memory holds U and one batch's part of it.

    Raises StudyError where the batches hold another number of rows or none, and for more than LIMIT vectors.
    """
    U: dict[str, Tensor] = {}
    seen = filled = 0
    for batch in batches:
        output, sites = forward(model, batch)
        vectors = rows * (output[0].numel() if fisher == "type2" else 1)
        if vectors > LIMIT:
            raise StudyError(f"{vectors} vectors are too many for one decomposition (at most {LIMIT}): use fewer draws")
        seen += batch.rows
        if seen > rows:
            raise StudyError(f"the batches hold more than {rows} rows")
        for u in fisher_vectors(fisher, output, batch, generator):
            returned = backward(output, sites, u, retain=fisher == "type2")
            for name, part in group_gradients(model, sites, returned, bias, batch.rows).items():
                if name not in U:
                    U[name] = part.new_empty(vectors, *part.shape[1:])
                U[name][filled : filled + batch.rows] = part
            filled += batch.rows
    if not seen or seen < rows:
        raise StudyError(f"the batches hold {seen} of {rows} rows")
    return Root(U, rows)


def spectrum(root: Root) -> Spectrum:
    """The eigendecomposition of U U^T / R [V, V] in float64, without the eigenvalues that are rounding errors of 0.

    Raises StudyError where U is not finite or zero.
    """
    some = next(iter(root.U.values()))
    total = some.new_zeros(len(some), len(some), dtype=torch.float64)
    for (columns,) in _columns(root.U):
        total += gram(columns.mT, OUTPUTS)
    if not total.isfinite().all():
        raise StudyError("a gradient of a row is not finite: the model's activations or gradients overflow")
    values, vectors = torch.linalg.eigh(total.div_(root.rows))
    parameters = sum(part[0].numel() for part in root.U.values())
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    if not kept.any():
        raise StudyError("the gradients of all rows are zero: there is no curvature")
    return Spectrum(values[kept], vectors[:, kept], root.rows, parameters)


def mean_eigenvalue(held: Spectrum) -> float:
    """trace(F) / P: the unit in which dampings are quoted, as in solve.py."""
    return float(held.values.sum()) / held.parameters


def coordinates(gradients: dict[str, Tensor], root: Root, held: Spectrum) -> Tensor:
    """<g_n, v_i> for the unit eigenvectors v_i of F: [n, K] float64, of gradients [n, O, J] a block.

    Raises StudyError where the gradients and U are of different blocks.
    """
    if gradients.keys() != root.U.keys():
        raise StudyError("the gradients and the rows of curvature are of different blocks")
    products = sum(g @ u.mT for g, u in _columns(gradients, root.U))  # [n, V]
    return products @ held.vectors / (held.rows * held.values).sqrt()


def sweep(dots: Tensor, query: Tensor, train: Tensor, held: Spectrum, dampings: Sequence[float]) -> Tensor:
    """[L, Q, N] scores in float64, of <q, g_n> [Q, N] (inner.inner) and coordinates [Q, K] and [N, K].

    Raises StudyError for a damping that is not above 0: the rows need not span all directions.
    """
    if any(not damping > 0 for damping in dampings):
        raise StudyError(f"dampings must be above 0: {list(dampings)}")
    outside = torch.zeros_like(dots) if held.complete else dots - query @ train.mT
    return torch.stack([query / (held.values + damping) @ train.mT + outside / damping for damping in dampings])


def scores(
    query: dict[str, Tensor],
    parts: Iterable[dict[str, Tensor]],
    root: Root,
    held: Spectrum,
    dampings: Sequence[float],
) -> Tensor:
    """[L, Q, N] float64: grad m_q^T (F + lambda I)^{-1} grad l_n.

    Gradients are [Q, O, J] and, in parts of the training set, [n, O, J] a block. Signs and scale are those of
    solve.scores; the same errors as `coordinates` and `sweep`.
    """
    q = coordinates(query, root, held)
    return torch.cat([sweep(inner(query, part), q, coordinates(part, root, held), held, dampings) for part in parts], 2)


def _columns(*sides: dict[str, Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The same columns of every side's [n, P], at most COLUMNS of one block at a time, in float64."""
    for name in sides[0]:
        yield from zip(
            *((part.double() for part in side[name].flatten(1).split(COLUMNS, 1)) for side in sides), strict=True
        )
