"""The whole curvature of a small model, without Kronecker structure: the reference that K-FAC and EK-FAC are judged by.

F = 1/R sum_r sum_u (J_r^T u) (J_r^T u)^T over all covered parameters [P, P], ordered as in gradients.flatten. With
"type2" vectors it is the generalised Gauss-Newton matrix (2/D) J^T J itself, with "mc" one sample a row of it.
It is held as Factors of one block "all" of shape [1, P]: A = F, B = 1. So eigenbasis, rotate and scores serve it as
they serve K-FAC, and its eigenvalues in that basis are exact. Products of gradients are taken and summed in float64,
whatever the model's precision: rounding in float32, 1e-7 of the largest eigenvalue, would drown a small damping.
Source: Schraudolph 2002 (the matrix); Martens 2020 (its identity with the Fisher).

Shape letters: R rows, N examples, Q queries, P parameters.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias, gram, layers
from attribution.curvature.capture import backward, forward
from attribution.curvature.ekfac import rotate
from attribution.curvature.gradients import flatten, group_gradients
from attribution.curvature.kfac import OUTPUTS, Factors, eigenbasis, kfac_eigenvalues
from attribution.curvature.rows import Batch, Fisher, fisher_vectors
from attribution.curvature.solve import sweep
from attribution.errors import StudyError

LIMIT = 8192  # parameters: F then takes half a gigabyte, and its eigendecomposition minutes
ROWS = 2048  # gradients that are held in float64 at a time


def accumulate(
    model: nn.Module, batches: Iterable[Batch], *, fisher: Fisher, bias: Bias, generator: torch.Generator | None
) -> Factors:
    """The sum of F over the rows of `batches`, as one block "all" [1, P] (float64); merge with kfac.merge.

    Raises StudyError for a model of more than LIMIT covered parameters.
    """
    parameters = sum(p.numel() for layer in layers(model).values() for p in layer.parameters(recurse=False))
    if parameters > LIMIT:
        raise StudyError(f"the exact curvature of {parameters} parameters is too large (at most {LIMIT}): use ekfac")
    total, rows = None, 0
    for batch in batches:
        output, sites = forward(model, batch)
        for u in fisher_vectors(fisher, output, batch, generator):
            returned = backward(output, sites, u, retain=fisher == "type2")
            gradients = flatten(group_gradients(model, sites, returned, bias, batch.rows))  # [R, P]
            for part in gradients.split(ROWS):
                value = gram(part.double(), OUTPUTS)
                total = value if total is None else total.add_(value)
        rows += batch.rows
    if total is None:
        raise StudyError("no rows: there is no curvature")
    return Factors(A={"all": total}, B={"all": total.new_full((1, 1), rows)}, rows=rows)


def one_block(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients [N, O, J] a block as gradients [N, 1, P] of the block "all", in float64: rounding does not enter."""
    return {"all": flatten(gradients).double().unsqueeze(1)}


def mean_eigenvalue(factors: Factors) -> float:
    """trace(F) / P: the unit in which dampings are quoted, as in solve.py."""
    return float(factors.A["all"].trace()) / factors.rows / len(factors.A["all"])


def dense_scores(
    query: dict[str, Tensor], parts: Iterable[dict[str, Tensor]], factors: Factors, dampings: Sequence[float]
) -> Tensor:
    """[L, Q, N] float64 scores (solve.py) with the exact F, of gradients [Q, O, J] and parts [n, O, J], not rotated."""
    basis = eigenbasis(factors)
    eigenvalues, q = kfac_eigenvalues(basis), rotate(one_block(query), basis)
    return torch.cat([sweep(q, rotate(one_block(part), basis), eigenvalues, dampings) for part in parts], 2)
