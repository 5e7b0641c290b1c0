"""Influence with the whole GGN of a small model, no Kronecker structure and no sampling of directions: the reference.

tau = grad m_q^T (F + lambda I)^{-1} grad l_n with F [P, P] the GGN over the draws of timestep and noise that the config
asks for; exact in the outputs with fisher type2. At most curvature.ggn.LIMIT parameters. Memory holds F and its
eigenvectors in float64, and the gradients [R, P] of a batch's rows.

Shape letters: L dampings, Q queries, N training examples, n those of a part, P parameters, O x J shape of a block.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from attribution.curvature import ggn
from attribution.curvature.blocks import Bias
from attribution.curvature.rows import Batch, Fisher


def score(
    queries: dict[str, Tensor],
    parts: Iterable[dict[str, Tensor]],
    model: nn.Module,
    batches: Iterable[Batch],
    fisher: Fisher,
    bias: Bias,
    dampings: list[float],
) -> Tensor:
    """[L, Q, N] from gradients [Q, O, J] and, in parts, [n, O, J]; dampings are relative to the mean eigenvalue."""
    factors = ggn.accumulate(model, batches, fisher=fisher, bias=bias, generator=None)
    unit = ggn.mean_eigenvalue(factors)
    return ggn.dense_scores(queries, parts, factors, [ratio * unit for ratio in dampings])
