"""How far can a score get? The reliability of the measured losses bounds every linear datamodeling score.

The measured loss of query q on subset s is its mean over training seeds plus seed noise. Two replicates r, r' of the
same subsets agree with correlation rho (the reliability of one replicate); the mean of R replicates has reliability
R rho / (1 + (R - 1) rho) (Spearman 1910, Brown 1910), and a score that knew the seed-free loss exactly would correlate
with that mean by its square root (attenuation, Spearman 1904). The formulas are exact for Pearson correlations and are
used here for rank correlations, as the field does.

Order of averaging: queries differ in reliability, and the root of their mean is above the mean of their roots (.81
against .77 where two replicates' reliabilities lie between .1 and .9). So each query has a ceiling of its own and the
mean of these is reported. That of a single query is noisy, which would pull the mean down; so reliabilities are first
drawn together, to the spread that they have beyond their noise (`without_noise`). What bias is left is about .01 or
less in simulation (docs/methods.md), except where replicates do not agree: there chance gives a ceiling of .1 to .2.

The control asks what common random numbers buy. Replicates whose models share seeds across subsets, and replicates
whose models have seeds of their own, estimate the same seed-free losses; their reliabilities on the same subsets are
compared, and `equivalent_replicates` is the number of independent-seed replicates that are worth one of the former.

Shape letters: B resamples, Q queries, R replicates, S subsets.
"""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import drawn, interval, mean, of_halves, percentile
from attribution.evaluation.lds import mean_outcome
from attribution.evaluation.selection import by_kind, halves

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]


def reliability(pairs: Pairs, halves: list[list[int]]) -> np.ndarray:
    """Spread [1 + S, Q] of the correlation of two replicates [S, Q], mean over the pairs and halves of the subsets."""
    return np.mean([of_halves([a] * len(halves), b, halves) for a, b in pairs], axis=0)


def spearman_brown(reliability: np.ndarray | float, replicates: float) -> np.ndarray:
    """Reliability of the mean of `replicates` measurements that each have `reliability` (1 or less)."""
    reliability = np.asarray(reliability, np.float64)
    return replicates * reliability / (1 + (replicates - 1) * reliability)


def attainable(reliability: np.ndarray | float, replicates: int) -> np.ndarray:
    """Largest correlation with the mean of R replicates: sqrt(Spearman-Brown); 0 where the reliability is not positive.

    A reliability of 0 or less means that the replicates tell nothing about the subsets.
    """
    return np.sqrt(spearman_brown(np.clip(reliability, 0.0, 1.0), replicates))


def without_noise(values: np.ndarray, noise: float) -> np.ndarray:
    """Values [..., Q] drawn towards their mean until their variance is what it was less `noise`, or 0."""
    if values.shape[-1] < 2:
        return values
    centre, variance = values.mean(-1, keepdims=True), values.var(-1, ddof=1, keepdims=True)
    kept = np.divide(np.maximum(variance - noise, 0), variance, out=np.zeros_like(variance), where=variance > 0)
    return centre + np.sqrt(kept) * (values - centre)


def ceilings(spread: np.ndarray, replicates: int) -> np.ndarray:
    """Spread [1 + S, Q] of the ceiling from that of the reliability: what is left without a subset, by the whole chain.

    A subset's deviation is that of the mean, the same for all queries; their own noise is taken out of the values.
    """
    own = spread[1:] - spread[1:].mean(1, keepdims=True)
    noise = (own * own).sum() / max(spread.shape[1] - 1, 1)
    found = attainable(without_noise(spread[:1], noise), replicates)
    without = attainable(without_noise(spread[0] - spread[1:], noise), replicates)  # [S, Q]
    deviation = found.mean() - without.mean(1, keepdims=True)
    return np.concatenate([found, np.broadcast_to(deviation, without.shape)])


def equivalent_replicates(target: np.ndarray | float, single: np.ndarray | float) -> np.ndarray:
    """How many measurements of reliability `single` have, averaged, the reliability `target` (Spearman-Brown solved).

    0 where target <= 0 (nothing is to be reached); infinity where single <= 0 < target (no number suffices) or
    target >= 1.
    """
    target, single = np.broadcast_arrays(np.asarray(target, np.float64), np.asarray(single, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        count = target * (1 - single) / (single * (1 - target))
    count = np.where((single <= 0) | (target >= 1), np.inf, count)
    return np.where(target <= 0, 0.0, count)


def evaluate_ceiling(outcomes: np.ndarray, kinds: np.ndarray, seed: int, coverage: float) -> dict[str, Any]:
    """Ceiling of every query kind, the mean of its queries', from the reliability on the two halves of the subsets.

    outcomes: [R, S, Q], R >= 2; kinds: [Q] names or codes (selection.by_kind). Returns JSON: kinds -> {ceiling,
    interval, reliability (of one replicate), reliability_interval, n}, halves, replicates. Raises StudyError for R < 2.
    """
    mean_outcome(outcomes)  # refuses NaN
    outcomes = np.asarray(outcomes, np.float64)
    count = len(outcomes)
    if count < 2:
        raise StudyError("the ceiling compares replicates: set design.replicates to 2 or more")
    split = halves(outcomes.shape[1], seed)
    record: dict[str, Any] = {}
    for kind, queries in by_kind(kinds, outcomes.shape[2]).items():
        spread = reliability(combinations(outcomes[:, :, queries], 2), list(split.values()))
        found, between = ceilings(spread, count), interval(spread, coverage)
        record[kind] = {
            "ceiling": mean(found),
            # at 0 the root has no slope to go by
            "interval": interval(found, coverage) if found[0].any() else attainable(between, count).tolist(),
            "reliability": mean(spread),
            "reliability_interval": between,
            "n": {"queries": len(queries), "subsets": outcomes.shape[1]},
        }
    return {"kinds": record, "halves": split, "replicates": count}


def evaluate_control(
    crn: np.ndarray, own: np.ndarray, kinds: np.ndarray, seed: int, draws: int, coverage: float
) -> dict[str, Any]:
    """Reliability of one replicate with common random numbers and of one with independent seeds, on the same subsets.

    crn: [R, S, Q], R >= 2; own: [R', S, Q], R' >= 1, row s of both is the same subset. With one independent replicate
    its reliability follows from the correlation of the two sorts, corr(crn, own)^2 / reliability(crn), since their seed
    noises are independent. Returns JSON: kinds -> {crn, own, equivalent_replicates}, each {value, interval}, and n.
    In equivalent_replicates null stands for "no number suffices" (the independent reliability is 0 or less), as value
    or as upper end of the interval. Intervals of what follows from two correlations are of `draws` draws of them.
    """
    if crn.shape[1:] != own.shape[1:]:
        raise StudyError(f"the control needs the same subsets and queries twice, got {crn.shape[1:]}, {own.shape[1:]}")
    if len(crn) < 2:
        raise StudyError("the control compares replicates: set design.replicates to 2 or more")
    mean_outcome(crn), mean_outcome(own)  # refuse NaN
    every = [list(range(crn.shape[1]))]
    record: dict[str, Any] = {}
    for kind, queries in by_kind(kinds, crn.shape[2]).items():
        shared, single = crn[:, :, queries], own[:, :, queries]
        pairs = combinations(single, 2) if len(own) > 1 else product(shared, single)
        spreads = [reliability(combinations(shared, 2), every), reliability(pairs, every)]
        values = np.array([mean(one) for one in spreads])
        many = drawn(spreads, draws, rng(seed, "control", kind))  # [2, B]
        own_interval = interval(spreads[1], coverage)
        if len(own) == 1:
            values[1], many[1] = _disattenuated(values[1], values[0]), _disattenuated(many[1], many[0])
            own_interval = percentile(many[1], coverage)
        worth = float(equivalent_replicates(*values))
        record[kind] = {
            "crn": {"value": float(values[0]), "interval": interval(spreads[0], coverage)},
            "own": {"value": float(values[1]), "interval": own_interval},
            "equivalent_replicates": {
                "value": worth if np.isfinite(worth) else None,
                "interval": _open_interval(equivalent_replicates(*many), coverage),
            },
            "n": {"queries": len(queries), "subsets": crn.shape[1]},
        }
    return {"kinds": record}


def _disattenuated(cross: np.ndarray | float, reliability: np.ndarray | float) -> np.ndarray:
    """corr^2 / reliability, within [0, 1]; 0 where either is not positive."""
    cross, reliability = np.asarray(cross, np.float64), np.asarray(reliability, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = cross * cross / reliability
    return np.where((cross > 0) & (reliability > 0), np.minimum(ratio, 1.0), 0.0)


def _open_interval(values: np.ndarray, coverage: float) -> list[float | None]:
    """Central interval of values [B] that may be infinite (observed order statistics, no interpolation)."""
    low = float(np.quantile(values, (1 - coverage) / 2, method="lower"))
    high = float(np.quantile(values, (1 + coverage) / 2, method="higher"))
    return [end if np.isfinite(end) else None for end in (low, high)]
