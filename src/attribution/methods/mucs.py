"""MUCS: mirrored unlearning and noise-consistent skew (Serrà et al. 2026, arXiv 2605.17938).

score[q, n] = 1/S sum_s (u_ns - t_ns) / (u_ns + t_ns + floor), t the losses of example n before, u after the query was
unlearned (unlearning/mirrored.py), at one noise bank for all (unlearning/bank.py). To first order it is the influence
of the query on n's log-loss: what forgets q also forgets n.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the config's `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
