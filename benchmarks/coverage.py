"""How often do 95% intervals hold the population value? Simulated, where it is known, by the functions that publish.

    python benchmarks/coverage.py [REPEATS] [scores|differences|ceiling]    prints the tables of docs/methods.md

Predictions and measured losses of a query are normal over subsets, with latent correlation tanh(z), z normal over
queries with deviation .3 about the value that makes the mean population rank correlation, 6/pi asin(latent / 2), the
LDS that is asked for. Queries share 70% (or 30%) of the variance of both. A second damping has .9 of the latent
correlation; the true value is that of the dampings chosen. Percentiles are those of a bootstrap of plain rank
correlations, subsets and queries drawn with replacement, on the same halves.

Shape letters: B resamples, Q queries, R replicates, S subsets.
"""

import sys
from itertools import product

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from attribution.evaluation.ceiling import evaluate_ceiling
from attribution.evaluation.evaluate import evaluate
from attribution.evaluation.intervals import paired, percentile
from attribution.evaluation.selection import halves

QUERIES, SPREAD, LEVEL, RESAMPLES = 50, 0.3, 0.95, 100
DAMPINGS, PARTS = np.array([0.1, 1.0]), (1.0, 0.9)
KINDS = np.ones(QUERIES, dtype=int)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
RELIABILITIES = {".5": (0.5, 0.5), ".1 to .9": (0.1, 0.9), ".85 to .95": (0.85, 0.95), ".05 to .3": (0.05, 0.3)}


def spearman(latent: np.ndarray | float) -> np.ndarray:
    """Population rank correlation of two normal variables with correlation `latent`."""
    return 6 / np.pi * np.arcsin(np.asarray(latent) / 2)


def population(centre: float, part: float) -> float:
    """Mean over queries of the rank correlation of a prediction that has `part` of the latent correlation."""
    return float(WEIGHTS @ spearman(part * np.tanh(centre + SPREAD * NODES)) / WEIGHTS.sum())


def centre_of(lds: float, part: float = 1.0) -> float:
    return brentq(lambda z: population(z, part) - lds, -1, 4)


def shared(stream: np.random.Generator, subsets: int, common: float = 0.7) -> np.ndarray:
    """Standard normal [S, Q] of which queries have the part `common` of the variance in common."""
    of_all, own = stream.normal(size=(subsets, 1)), stream.normal(size=(subsets, QUERIES))
    return np.sqrt(common) * of_all + np.sqrt(1 - common) * own


def mixed(a: np.ndarray, b: np.ndarray, correlation: np.ndarray | float) -> np.ndarray:
    """Standard normal, with this correlation to a."""
    return correlation * a + np.sqrt(1 - correlation**2) * b


def judged(predictions: list[np.ndarray], measured: np.ndarray, seed: int) -> tuple[dict, np.ndarray]:
    """Record and spread of `evaluate` for [S, Q] each: every subset leaves one example out, whose score it is."""
    masks, scores = ~np.eye(len(measured), dtype=bool), np.stack(predictions).transpose(0, 2, 1)
    grid = (scores, DAMPINGS, 0.1) if len(scores) > 1 else (scores[0], None, None)
    record, arrays = evaluate(*grid, masks, measured[None], KINDS, seed, LEVEL)
    return record["kinds"]["heldout"], arrays["spread_heldout"]


def by_percentiles(pairs: list[tuple[np.ndarray, np.ndarray]], stream: np.random.Generator) -> list[float]:
    """Interval of the mean over halves [S / 2, Q] of two sides, by percentiles of resampled rank correlations."""
    queries = stream.integers(QUERIES, size=(RESAMPLES, QUERIES))
    means = []
    for pair in pairs:
        rows = stream.integers(len(pair[0]), size=(RESAMPLES, len(pair[0])))
        x, y = (rankdata(side[rows], axis=1) for side in pair)  # [B, S / 2, Q]
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        each = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
        means.append(np.take_along_axis(each, queries, 1).mean(1))
    return percentile(np.mean(means, 0), LEVEL)


def holds(interval: list[float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def score(seed: int, subsets: int, common: float, lds: float) -> list[float]:
    """Error, interval holds, percentiles hold, width: of an LDS whose damping is chosen."""
    centre, stream = centre_of(lds), np.random.default_rng([seed, subsets, int(100 * lds)])
    best, other, noise = (shared(stream, subsets, common) for _ in range(3))
    measured = mixed(best, noise, np.tanh(centre + SPREAD * stream.normal(size=QUERIES)))
    predictions = [best, mixed(best, other, PARTS[1])]
    record, _ = judged(predictions, measured, seed)
    chosen = [int(np.argmax(record[name] == DAMPINGS)) for name in ("selected_damping", "other_damping")]
    truth = float(np.mean([population(centre, PARTS[layer]) for layer in chosen]))
    split = halves(subsets, seed)
    parts = [(predictions[at][split[h]], measured[split[h]]) for at, h in zip(chosen, split, strict=True)]
    width = record["interval"][1] - record["interval"][0]
    return [record["lds"] - truth, holds(record["interval"], truth), holds(by_percentiles(parts, stream), truth), width]


def difference(seed: int, subsets: int, lds: float, gap: float) -> list[float]:
    """Error, interval holds, interval leaves out 0, width: of two methods that agree by .8."""
    better = centre_of(lds)
    part = brentq(lambda p: population(better, p) - lds + gap, 0, 1)
    stream = np.random.default_rng([seed, subsets, int(100 * lds), int(100 * gap)])
    latent = np.tanh(better + SPREAD * stream.normal(size=QUERIES))
    measured, noise = shared(stream, subsets), [shared(stream, subsets) for _ in range(3)]
    common = [mixed(noise[0], own, np.sqrt(0.8)) for own in noise[1:]]
    sides = [mixed(measured, own, p * latent) for own, p in zip(common, (1.0, part), strict=True)]
    found = paired(*(judged([side], measured, seed)[1] for side in sides), LEVEL)
    low, high = found["interval"]
    return [found["value"] - gap, low <= gap <= high, not low <= 0 <= high, high - low]


def ceiling(seed: int, subsets: int, replicates: int, law: str) -> list[float]:
    """Error, interval holds, error of the root of the mean reliability, width."""
    stream = np.random.default_rng([seed, subsets, replicates])
    low, high = RELIABILITIES[law]
    reliability = stream.uniform(low, high, QUERIES)
    truth = shared(stream, subsets)
    outcomes = np.stack([mixed(truth, shared(stream, subsets), np.sqrt(reliability)) for _ in range(replicates)])
    every = np.linspace(low, high, 1001)
    known = float(spearman(np.sqrt(replicates * every / (1 + (replicates - 1) * every))).mean())
    record = evaluate_ceiling(outcomes, KINDS, seed, LEVEL)["kinds"]["heldout"]
    rooted = np.sqrt(max(replicates * record["reliability"] / (1 + (replicates - 1) * record["reliability"]), 0))
    width = record["interval"][1] - record["interval"][0]
    return [record["ceiling"] - known, holds(record["interval"], known), rooted - known, width]


LEVELS, SIZES = (0.3, 0.6, 0.8, 0.9, 0.95), (32, 64, 128)
TABLES = {
    "scores": (score, "S | shared | LDS | bias | holds | percentiles hold | width", product(SIZES, (0.7, 0.3), LEVELS)),
    "differences": (
        difference,
        "S | LDS | difference | bias | holds | leaves out 0 | width",
        product((32, 64), (0.3, 0.8, 0.95), (0.0, 0.05)),
    ),
    "ceiling": (
        ceiling,
        "S | R | reliability | bias | holds | bias of the root of the mean | width",
        product((32, 64), (2, 3), RELIABILITIES),
    ),
}


def main(repeats: int, names: list[str]) -> None:
    for name in names:
        one, head, points = TABLES[name]
        print(f"| {head} |\n|{' :-- |' * (head.count('|') + 1)}")
        for point in points:
            found = np.mean([one(seed, *point) for seed in range(repeats)], axis=0)
            print(f"| {' | '.join(map(str, point))} | {' | '.join(f'{value:.3f}' for value in found)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1000, sys.argv[2:] or list(TABLES))
