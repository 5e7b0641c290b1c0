"""Gradient ascent on the query alone, judged by the rise of each example's loss: the negative control.

score[q, n] = 1/S sum_s (u_ns - t_ns). Wang et al. 2024 (AbU) find it no better than random: what a few steps of ascent
move is every example's loss. Same noise bank as the other unlearning methods.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the config's `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
