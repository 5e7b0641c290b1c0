"""Scores from losses before (t) and after (u) unlearning a query, [n, S] and [M, n, S] -> [M, n].

    skew            1/S sum_s (u_s - t_s) / (u_s + t_s + floor)          MUCS (Serrà et al. 2026): ratio first
    difference      1/S sum_s (u_s - t_s)                                AbU, Forward-INF, plain ascent
    skew_of_means   (U - T) / (U + T + floor), U and T means over s      what is left where models share no noise
With floor 0 the skew is mean_s tanh(ln(u_s / t_s) / 2): it saturates, swapping u and t flips its sign, and no positive
weight of an example and noise level changes it, so every level counts the same. Larger: forgetting the query hurts
example n more, read as n having made the query.

Shape letters: M models (one a query), n examples, S draws.
"""

from torch import Tensor

from attribution.errors import StudyError


def skew(before: Tensor, after: Tensor, floor: float) -> Tensor:
    """[M, n] float64 in (-1, 1); a draw at which both losses are 0 counts 0."""
    t, u = before.double(), after.double()
    return _ratio(u - t, u + t + floor).mean(-1)


def difference(before: Tensor, after: Tensor) -> Tensor:
    """[M, n] float64, the mean rise of the loss."""
    return (after.double() - before.double()).mean(-1)


def skew_of_means(before: Tensor, after: Tensor, floor: float) -> Tensor:
    """[M, n] float64 in (-1, 1)."""
    t, u = before.double().mean(-1), after.double().mean(-1)
    return _ratio(u - t, u + t + floor)


def compare(kind: str, floor: float, before: Tensor, after: Tensor) -> Tensor:
    """The score of that kind; `floor` has no part in a difference. Raises StudyError for an unknown kind."""
    if kind == "skew":
        return skew(before, after, floor)
    if kind == "difference":
        return difference(before, after)
    if kind == "skew_of_means":
        return skew_of_means(before, after, floor)
    raise StudyError(f"score: {kind!r} is not known (allowed: skew, difference, skew_of_means)")


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return (above / below).where(below > 0, 0.0)
