"""AbU+ (Wang et al. 2025, arXiv 2511.10721): AbU with EK-FAC for the Fisher matrix.

score[q, n] = 1/S sum_s (u_ns - t_ns); for a small step it is EK-FAC influence, up to scale and the noise of its draws.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the config's `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
