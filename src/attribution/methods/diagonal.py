"""Influence with the diagonal of the GGN: what is left of the curvature when parameters are taken one by one.

tau = sum_i g_q,i g_n,i / (F_ii + lambda). Memory holds the diagonal and one part's gradients.

Shape letters: L dampings, Q queries, N examples, n those of a part, O x J shape of a block.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from attribution.curvature import diagonal
from attribution.curvature.blocks import Bias
from attribution.curvature.ekfac import mean
from attribution.curvature.rows import Batch, Fisher
from attribution.curvature.solve import relative


def score(
    queries: dict[str, Tensor],
    parts: Iterable[dict[str, Tensor]],
    model: nn.Module,
    batches: Iterable[Batch],
    fisher: Fisher,
    bias: Bias,
    dampings: list[float],
) -> Tensor:
    """[L, Q, N] from gradients [Q, O, J] and, in parts, [n, O, J]; dampings are relative to the diagonal's mean."""
    squares = diagonal.accumulate(model, batches, fisher=fisher, bias=bias, generator=None)
    added = relative(mean(squares), dampings, "model")
    return torch.cat([diagonal.sweep(queries, part, squares, added) for part in parts], 2)
