"""How far can a score get? The reliability of the measured losses bounds every linear datamodeling score.

The measured loss of query q on subset s is its mean over training seeds plus seed noise. Two replicates r, r' of the
same subsets agree with correlation rho (the reliability of one replicate); the mean of R replicates has reliability
R rho / (1 + (R - 1) rho) (Spearman 1910, Brown 1910), and a score that knew the seed-free loss exactly would correlate
with that mean by its square root (attenuation, Spearman 1904). The formulas are exact for Pearson correlations and are
used here for rank correlations, as the field does.

Order of averaging: rho is averaged over pairs of replicates and over queries first, then stepped up, then rooted.
Rooting each query's own rho would drop or clip the negative ones that noise produces and so overstate the ceiling.

The control asks what common random numbers buy. Replicates whose models share seeds across subsets, and replicates
whose models have seeds of their own, estimate the same seed-free losses; their reliabilities on the same subsets are
compared, and `equivalent_replicates` is the number of independent-seed replicates that are worth one of the former.

Shape letters: B resamples, Q queries, R replicates, S subsets.
"""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation.intervals import (
    percentile,
    resampled_mean,
    resampled_spearman,
    resamples,
    resamples_of_halves,
)
from attribution.evaluation.lds import lds_per_query, mean_outcome
from attribution.evaluation.selection import by_kind, halves

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]


def replicate_correlation(pairs: Pairs) -> np.ndarray:
    """Spearman correlation over subsets of two replicates ([S, Q] each), averaged over the pairs: [Q]."""
    return np.mean([lds_per_query(a, b) for a, b in pairs], axis=0)


def spearman_brown(reliability: np.ndarray | float, replicates: float) -> np.ndarray:
    """Reliability of the mean of `replicates` measurements that each have `reliability` (1 or less)."""
    reliability = np.asarray(reliability, np.float64)
    return replicates * reliability / (1 + (replicates - 1) * reliability)


def attainable(reliability: np.ndarray | float, replicates: int) -> np.ndarray:
    """Largest correlation with the mean of R replicates: sqrt(Spearman-Brown); 0 where the reliability is not positive.

    A reliability of 0 or less means that the replicates tell nothing about the subsets.
    """
    return np.sqrt(spearman_brown(np.maximum(np.asarray(reliability, np.float64), 0.0), replicates))


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


def evaluate_ceiling(
    outcomes: np.ndarray, kinds: np.ndarray, seed: int, bootstrap: int, coverage: float
) -> dict[str, Any]:
    """Ceiling of every query kind: from the mean reliability on the two halves of the subsets, as scores are reported.

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
        draws = resamples_of_halves(seed, bootstrap, (len(split["reporting"]), len(split["selection"])), len(queries))
        found = [
            _reliability(list(combinations(outcomes[:, split[half]][:, :, queries], 2)), draw)
            for half, draw in zip(("reporting", "selection"), draws, strict=True)
        ]
        value, replicates = float(np.mean([one for one, _ in found])), np.mean([spread for _, spread in found], axis=0)
        record[kind] = {
            "ceiling": float(attainable(value, count)),
            "interval": percentile(attainable(replicates, count), coverage),
            "reliability": value,
            "reliability_interval": percentile(replicates, coverage),
            "n": {"queries": len(queries), "subsets": outcomes.shape[1]},
        }
    return {"kinds": record, "halves": split, "replicates": count}


def evaluate_control(
    crn: np.ndarray, own: np.ndarray, kinds: np.ndarray, seed: int, bootstrap: int, coverage: float
) -> dict[str, Any]:
    """Reliability of one replicate with common random numbers and of one with independent seeds, on the same subsets.

    crn: [R, S, Q], R >= 2; own: [R', S, Q], R' >= 1, row s of both is the same subset. With one independent replicate
    its reliability follows from the correlation of the two sorts, corr(crn, own)^2 / reliability(crn), since their seed
    noises are independent. Returns JSON: kinds -> {crn, own, equivalent_replicates}, each {value, interval}, and n.
    In equivalent_replicates null stands for "no number suffices" (the independent reliability is 0 or less), as value
    or as upper end of the interval.
    """
    if crn.shape[1:] != own.shape[1:]:
        raise StudyError(f"the control needs the same subsets and queries twice, got {crn.shape[1:]}, {own.shape[1:]}")
    if len(crn) < 2:
        raise StudyError("the control compares replicates: set design.replicates to 2 or more")
    mean_outcome(crn), mean_outcome(own)  # refuse NaN
    record: dict[str, Any] = {}
    for kind, queries in by_kind(kinds, crn.shape[2]).items():
        shared, single = crn[:, :, queries], own[:, :, queries]
        draws = resamples(seed, bootstrap, shared.shape[1], len(queries))
        value, spread = _reliability(list(combinations(shared, 2)), draws)
        if len(own) > 1:
            own_value, own_spread = _reliability(list(combinations(single, 2)), draws)
        else:
            cross, cross_spread = _reliability(list(product(shared, single)), draws)
            own_value, own_spread = float(_disattenuated(cross, value)), _disattenuated(cross_spread, spread)
        worth = float(equivalent_replicates(value, own_value))
        record[kind] = {
            "crn": {"value": value, "interval": percentile(spread, coverage)},
            "own": {"value": own_value, "interval": percentile(own_spread, coverage)},
            "equivalent_replicates": {
                "value": worth if np.isfinite(worth) else None,
                "interval": _open_interval(equivalent_replicates(spread, own_spread), coverage),
            },
            "n": {"queries": len(queries), "subsets": crn.shape[1]},
        }
    return {"kinds": record}


def _reliability(
    pairs: list[tuple[np.ndarray, np.ndarray]], draws: tuple[np.ndarray, np.ndarray]
) -> tuple[float, np.ndarray]:
    """Mean over pairs and queries of the replicate correlation, and its bootstrap replicates [B] on `resamples`."""
    subset_counts, query_counts = draws
    spread = [resampled_mean(resampled_spearman(a, b, subset_counts), query_counts) for a, b in pairs]
    return float(replicate_correlation(pairs).mean()), np.mean(spread, axis=0)


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
