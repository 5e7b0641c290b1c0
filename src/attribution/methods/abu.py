"""AbU, attribution by unlearning (Wang et al. 2024, arXiv 2406.09408): a Newton step up the query's loss, with the
diagonal of the Fisher matrix.

score[q, n] = 1/S sum_s (u_ns - t_ns); theirs is averaged over 20 even timesteps, with noise that both models share and
examples do not; here the bank is that of all unlearning methods.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the config's `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
