"""Fewer evaluations for a ranking: a cheap method's candidates, and draws spent where the ranking is still open.

Candidates are the top of a cheap score and a random sample of the others. They are evaluated at the first draws of the
bank, whose prefixes cover its grid evenly; the better half goes on to twice as many draws, and so on until the last
round has all of them (successive halving: Karnin, Koren, Somekh 2013). What was never evaluated gets the value that a
straight line through the random sample gives to its cheap rank: the sample calibrates the rest.
Cost is counted in (example, draw) evaluations, over those N S of a full pass.

Shape letters: N training examples, K candidates, S draws.
"""

from collections.abc import Callable

import numpy as np

from attribution.core.rng import Name, rng
from attribution.errors import StudyError

Evaluate = Callable[[np.ndarray, slice], np.ndarray]  # rows [k], draws -> terms [k, draws] whose mean is the score


def candidates(cheap: np.ndarray, count: int, sample: int, seed: int, query: Name) -> tuple[np.ndarray, np.ndarray]:
    """The `count` rows that score highest by cheap [N], ties by row, and `sample` random ones of the others.

    Raises StudyError where there are not so many.
    """
    if count + sample > len(cheap):
        raise StudyError(f"prefilter: {count} candidates and {sample} others are more than {len(cheap)} examples")
    order = np.argsort(-cheap, kind="stable")
    return order[:count], np.sort(rng(seed, "prefilter", query).permutation(order[count:])[:sample])


def rounds(draws: int, count: int) -> list[int]:
    """Draws that a survivor has after each of `count` rounds: halves of halves up to all; at least one each."""
    return [max(1, draws // 2**left) for left in reversed(range(count))]


def sequential(
    evaluate: Evaluate, rows: np.ndarray, draws: int, count: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means [K] of the terms of rows [K], and how many draws [K] each mean is over, by `count` rounds of halving.

    At least `least` rows survive each round: those are ranked at all draws.
    """
    total, used = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    alive, done = np.arange(len(rows)), 0
    for upto in rounds(draws, count):
        if upto > done:
            total[alive] += evaluate(rows[alive], slice(done, upto)).sum(1)
            used[alive], done = upto, upto
        survivors = max(least, -(-len(alive) // 2))
        alive = alive[np.argsort(-total[alive] / done, kind="stable")[:survivors]] if upto < draws else alive
    return total / used, used


def estimate(
    cheap: np.ndarray, top: np.ndarray, sample: np.ndarray, evaluate: Evaluate, draws: int, count: int, least: int
) -> tuple[np.ndarray, float]:
    """Scores [N] for all examples, and their cost as a share of a full pass.

    Rows that left early rank below those that stayed longer, whatever noise their few draws had. Sampled rows are
    evaluated at all draws. With no candidate beyond the sample missing, and one round, it is the full pass.
    """
    means, used = sequential(evaluate, top, draws, count, least)
    found = np.full(len(cheap), np.nan)
    spent = int(used.sum())
    known = evaluate(sample, slice(0, draws)).mean(1) if len(sample) else np.empty(0)
    spent += len(sample) * draws
    rest = np.setdiff1d(np.arange(len(cheap)), np.concatenate([top, sample]))
    if len(rest):
        found[rest] = _line(cheap, sample, known, rest)
    found[sample] = known
    ceiling = np.inf
    for level in np.unique(used)[::-1]:
        here = used == level
        found[top[here]] = np.minimum(means[here], ceiling)
        ceiling = found[top[here]].min()
    return found, spent / (len(cheap) * draws)


def _line(cheap: np.ndarray, sample: np.ndarray, known: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Values of the rows that were not evaluated: the sample's line over ranks by the cheap score, or its mean."""
    if len(sample) == 0:
        raise StudyError("prefilter: what was not evaluated needs a random sample to be calibrated by")
    rank = np.empty(len(cheap))
    rank[np.argsort(cheap, kind="stable")] = np.arange(len(cheap)) / len(cheap)
    if len(sample) < 3:
        return np.full(len(rest), known.mean())
    slope, offset = np.polyfit(rank[sample], known, 1)
    return offset + slope * rank[rest]
