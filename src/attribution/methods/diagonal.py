"""Influence with the diagonal of the GGN: what is left of the curvature when parameters are taken one by one.

tau = sum_i g_q,i g_n,i / (F_ii + lambda). Shape letters: L dampings, Q queries, N examples, O x J shape of a block.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from attribution.curvature import diagonal
from attribution.curvature.blocks import Bias
from attribution.curvature.ekfac import mean
from attribution.curvature.rows import Batch, Fisher
from attribution.curvature.solve import relative_damping


def score(
    queries: dict[str, Tensor],
    train: dict[str, Tensor],
    model: nn.Module,
    batches: Iterable[Batch],
    fisher: Fisher,
    bias: Bias,
    dampings: list[float],
) -> Tensor:
    """[L, Q, N] from gradients [Q or N, O, J], not rotated; dampings are relative to the mean of the diagonal."""
    squares = diagonal.accumulate(model, batches, fisher=fisher, bias=bias, generator=None)
    values = mean(squares)
    return diagonal.sweep(queries, train, squares, [relative_damping(values, ratio) for ratio in dampings])
