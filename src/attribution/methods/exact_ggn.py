"""Influence with the GGN itself, estimated by Monte-Carlo rows and inverted without any structure (Woodbury).

tau = g_q^T (U^T U / R + lambda I)^{-1} g_n with pseudo-gradient rows U [R, P]: what K-FAC and EK-FAC approximate. It is
exact for the sampled rows; directions that no row has are damped by lambda alone, so it needs many rows or damping.
Memory holds U in the model's precision, R <= curvature.woodbury.LIMIT, and one part's gradients.

Shape letters: L dampings, Q queries, N training examples, n those of a part, R rows, P parameters, O x J shape of a
block.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from attribution.curvature import woodbury
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
    batches = list(batches)
    rows = sum(batch.rows for batch in batches)
    root = woodbury.accumulate(model, batches, fisher=fisher, bias=bias, generator=None, rows=rows)
    spectrum = woodbury.spectrum(root)
    unit = woodbury.mean_eigenvalue(spectrum)
    return woodbury.scores(queries, parts, root, spectrum, [ratio * unit for ratio in dampings])
