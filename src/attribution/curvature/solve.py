"""Influence scores from rotated gradients: one division by the damped eigenvalues, whatever made them.

    score[q, n] = sum_blocks <q, g_n / (Lambda + damping)>,   q, g in the eigenbasis
is grad m_q^T (F + damping I)^{-1} grad l_n for the curvature F with eigenvalues Lambda (K-FAC, EK-FAC, or the exact GGN
as one block): F is damped, not each of its factors. Removing example n moves the measurement m_q by +score / N to first
order: for a measurement that is a loss, larger means that removing n hurts q more. Rotating once serves every damping.
Source: Koh & Liang 2017 (influence); Grosse et al. 2023 (EK-FAC, damping); Mlodozeniec et al. 2025 (diffusion).

Shape letters: Q queries, N examples, K dampings, O x J shape of a block.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from attribution.curvature.quantise import round_trip
from attribution.errors import StudyError

Unit = Literal["model", "block"]
Damping = float | dict[str, float]  # of all blocks, or of each


def mean_eigenvalue(eigenvalues: dict[str, Tensor]) -> float:
    """trace / P over all parameters of all blocks: the unit in which dampings are quoted."""
    return sum(float(values.sum()) for values in eigenvalues.values()) / sum(map(torch.numel, eigenvalues.values()))


def relative_damping(eigenvalues: dict[str, Tensor], ratio: float) -> float:
    """ratio x mean eigenvalue: a damping that means the same under any scale of the loss and any Fisher."""
    return ratio * mean_eigenvalue(eigenvalues)


def relative(eigenvalues: dict[str, Tensor], ratios: Sequence[float], unit: Unit) -> list[Damping]:
    """A damping for every ratio: of the mean eigenvalue of the model, or, block by block, of each block's own.

    Raises StudyError for an unknown unit.
    """
    if unit == "model":
        return [relative_damping(eigenvalues, ratio) for ratio in ratios]
    if unit == "block":
        return [
            {name: relative_damping({name: values}, ratio) for name, values in eigenvalues.items()} for ratio in ratios
        ]
    raise StudyError(f"the unit of a damping is {unit!r}: choose model or block")


def scores(
    query: dict[str, Tensor], train: dict[str, Tensor], eigenvalues: dict[str, Tensor], damping: float
) -> Tensor:
    """[Q, N] scores of rotated gradients, query [Q, O, J] and train [N, O, J] a block; eigenvalues [O, J].

    Directions with Lambda + damping = 0 (dead units without damping) contribute 0. Blocks are summed in float64.
    Raises StudyError where blocks differ, and for a negative damping.
    """
    return sweep(query, train, eigenvalues, [damping])[0]


def sweep(
    query: Mapping[str, Tensor],
    train: Mapping[str, Tensor],
    eigenvalues: dict[str, Tensor],
    dampings: Sequence[Damping],
    bits: int = 32,
) -> Tensor:
    """[K, Q, N]: `scores` for every damping, one number for all blocks or one for each; the same errors.

    With `bits` 8 the preconditioned query gradients go through eight bits, query by query and block by block
    (quantise.py): what is kept of them where they are too many (Mlodozeniec et al. 2025). StudyError for other bits.
    """
    if not query.keys() == train.keys() == eigenvalues.keys():
        raise StudyError("query gradients, train gradients and eigenvalues are of different blocks")
    if bits not in (8, 32):
        raise StudyError(f"query gradients are held in 8 or 32 bits, not in {bits}")
    total: Tensor | None = None
    for name, values in eigenvalues.items():
        of_queries = query[name]  # [Q, O, J]
        q, g = of_queries.flatten(1), train[name].flatten(1)  # [Q, O J], [N, O J]
        parts = []
        for damping in dampings:
            added = damping[name] if isinstance(damping, dict) else damping
            if not added >= 0:
                raise StudyError(f"a damping is negative: {added}")
            held = (q * _inverse(values.double().flatten() + added).to(q)).view_as(of_queries)
            held = round_trip({name: held})[name] if bits == 8 else held
            parts.append(held.flatten(1) @ g.mT)
        part = torch.stack(parts).double()
        total = part if total is None else total + part
    return total.to(of_queries.dtype)


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1 / values, 0.0)
