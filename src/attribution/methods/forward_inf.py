"""Forward-INF (Ko et al. 2024, arXiv 2402.08922, the mirrored influence hypothesis): forget the query by a step or a
few of Adam, and see whose loss rises.

score[q, n] = 1/S sum_s (u_ns - t_ns); their example takes its absolute value, which cannot tell help from harm.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the config's `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
