"""Rank correlations and their intervals: by brute force, and by how often they hold a known population value."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata, spearmanr

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.evaluate import evaluate
from attribution.evaluation.intervals import (
    correlations,
    covariance,
    difference,
    drawn,
    interval,
    mean,
    of_halves,
    of_replicates,
    of_share,
    paired,
    percentile,
    resamples,
)
from attribution.evaluation.selection import halves

QUERIES = 50
KINDS = np.ones(QUERIES, dtype=int)


def pair(seed: int, subsets: int, queries: int = 3) -> tuple[np.ndarray, np.ndarray]:
    a, b = rng(seed, "test pair").normal(size=(2, subsets, queries))
    return a, a + b


def test_correlation_is_that_of_ranks_without_its_bias() -> None:
    a, b = pair(0, 11)
    each = [
        (12 * spearmanr(a[:, q], b[:, q]).statistic - 3 * kendalltau(a[:, q], b[:, q]).statistic) / 9 for q in range(3)
    ]
    np.testing.assert_allclose(correlations(a, b)[0], each, atol=1e-12)
    np.testing.assert_allclose(correlations(a, np.exp(a))[0], 1)
    np.testing.assert_allclose(correlations(a, -a)[0], -1)
    few = [correlations(*pair(seed, 8, 50))[0].mean() for seed in range(200)]
    # plain rank correlations of 8 subsets have the mean .65
    assert np.mean(few) == pytest.approx(6 / np.pi * np.arcsin(np.sqrt(0.5) / 2), abs=0.008)


def test_ties_by_brute_force() -> None:
    a, b = (np.round(values) for values in pair(1, 9, 1))

    def triples(x: np.ndarray, y: np.ndarray) -> float:
        return sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[k]) for i, j, k in permutations(range(9), 3))

    x, y = a[:, 0], b[:, 0]
    expected = triples(x, y) / np.sqrt(triples(x, x) * triples(y, y))
    assert correlations(a, b)[0, 0] == pytest.approx(expected)


def test_deviations_are_those_of_leaving_a_subset_out() -> None:
    a, b = pair(2, 12)
    found = correlations(a, b)
    left = np.array([correlations(np.delete(a, s, 0), np.delete(b, s, 0))[0] for s in range(12)])
    np.testing.assert_allclose(found[1:], (found[0] - left) * np.sqrt(11 / 12), atol=1e-12)
    lone = np.zeros((12, 1))
    lone[3] = 1  # without subset 3 nothing varies
    assert np.isfinite(correlations(lone, b[:, :1])).all()
    with pytest.raises(StudyError, match="4 subsets or more, got 3"):
        correlations(a[:3], b[:3])


def test_halves_keep_their_rows() -> None:
    a, b = pair(3, 12)
    split = [[0, 2, 4, 7, 8, 9], [1, 3, 5, 6, 10, 11]]
    found = of_halves([a, -a], b, split)
    first, second = (correlations(side * a[rows], b[rows]) for side, rows in zip((1, -1), split, strict=True))
    np.testing.assert_allclose(found[0], (first[0] + second[0]) / 2)
    np.testing.assert_allclose(found[1 + np.array(split[1])], second[1:] / 2)


def test_one_query_and_perfect_scores() -> None:
    a, b = pair(4, 20, 1)
    spread = correlations(a, b)
    assert covariance([spread])[0, 0] == pytest.approx((spread[1:] ** 2).sum())
    low, high = interval(spread, 0.95)
    assert low < mean(spread) < high < 1
    assert interval(correlations(a, a), 0.95) == [1, 1]
    assert paired(spread, spread, 0.95) == {"value": 0.0, "interval": [0.0, 0.0]}
    with pytest.raises(StudyError, match="paired difference"):
        paired(spread, spread[:-1], 0.95)
    with pytest.raises(StudyError, match="coverage"):
        interval(spread, 95.0)


def test_drawn_means_have_the_interval() -> None:
    a, b = pair(5, 40, 20)
    spreads = [correlations(a, b), correlations(a, b + pair(6, 40, 20)[0])]
    many = drawn(spreads, 20000, rng(0, "test drawn"))
    for spread, one in zip(spreads, many, strict=True):
        assert percentile(one, 0.95) == pytest.approx(interval(spread, 0.95), abs=0.01)
    assert np.corrcoef(many)[0, 1] > 0.3  # of draws apart it would be 0


def test_resamples_depend_on_seed_and_number_alone() -> None:
    subsets, queries = resamples(3, 20, 9, 7)
    fewer, _ = resamples(3, 5, 9, 7)
    np.testing.assert_array_equal(subsets[:5], fewer)
    np.testing.assert_array_equal(subsets[:, :], resamples(3, 20, 9, 4)[0])  # other kinds meet the same subsets
    assert (subsets.sum(1) == 9).all()
    assert (queries.sum(1) == 7).all()
    assert not np.array_equal(subsets, resamples(4, 20, 9, 7)[0])


def test_no_resample_is_a_single_subset() -> None:
    subsets, _ = resamples(0, 400, 2, 1)  # half of the plain draws of 2 from 2 would be
    assert ((subsets > 0).sum(1) == 2).all()


def test_percentile_is_central() -> None:
    assert percentile(np.arange(101.0), 0.9) == pytest.approx([5.0, 95.0])
    with pytest.raises(StudyError, match="coverage"):
        percentile(np.arange(3.0), 95.0)


def shared(stream: np.random.Generator, subsets: int) -> np.ndarray:
    """Standard normal [S, Q]; queries share 30% of their variance."""
    return np.sqrt(0.3) * stream.normal(size=(subsets, 1)) + np.sqrt(0.7) * stream.normal(size=(subsets, QUERIES))


def judged(prediction: np.ndarray, measured: np.ndarray, seed: int) -> tuple[dict, np.ndarray]:
    """Record and spread of `evaluate`, as published: every subset leaves one example out, whose score counts."""
    masks = ~np.eye(len(measured), dtype=bool)
    record, arrays = evaluate(prediction.T, None, None, masks, measured[None], KINDS, seed, 0.95)
    return record["kinds"]["heldout"], arrays["spread_heldout"]


def by_percentiles(prediction: np.ndarray, measured: np.ndarray, seed: int) -> list[float]:
    """What was published before: two-way bootstrap of plain rank correlations, on both halves."""
    stream, means = rng(seed, "test percentiles"), []
    queries = stream.integers(QUERIES, size=(100, QUERIES))
    for half in halves(len(measured), seed).values():
        rows = stream.choice(half, size=(100, len(half)))
        x, y = (rankdata(side[rows], axis=1) for side in (prediction, measured))  # [B, S / 2, Q]
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        each = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
        means.append(np.take_along_axis(each, queries, 1).mean(1))
    return percentile(np.mean(means, 0), 0.95)


# tanh(z) with z of mean `centre` and deviation .3 over queries: latent correlations with this mean rank correlation
@pytest.mark.parametrize(
    ("centre", "lds", "subsets", "before"), [(0.346, 0.3, 32, 0.95), (1.597, 0.9, 64, 0.6), (1.954, 0.95, 64, 0.2)]
)
def test_intervals_hold_the_population_value(centre: float, lds: float, subsets: int, before: float) -> None:
    """At least 93% of them, through `evaluate`, and their value stands in the middle half.

    Of 300, with a binomial deviation of 1.2%. Percentiles of a bootstrap hold at most the part `before`.
    """
    many = tanh_of(rng(0, "test population"), centre, 200000)
    assert (6 / np.pi * np.arcsin(many / 2)).mean() == pytest.approx(lds, abs=0.003)
    held, old = [], []
    for trial in range(300):
        stream = rng(trial, "test coverage", subsets)
        latent, prediction, noise = tanh_of(stream, centre, QUERIES), shared(stream, subsets), shared(stream, subsets)
        measured = latent * prediction + np.sqrt(1 - latent**2) * noise
        record, _ = judged(prediction, measured, trial)
        low, high = record["interval"]
        held.append(low <= lds <= high)
        assert low + (high - low) / 4 < record["lds"] < high - (high - low) / 4
        if trial < 40:
            low, high = by_percentiles(prediction, measured, trial)
            old.append(low <= lds <= high)
    assert 0.93 <= np.mean(held) <= 0.99
    assert np.mean(old) <= before


def tanh_of(stream: np.random.Generator, centre: float, queries: int) -> np.ndarray:
    return np.tanh(centre + 0.3 * stream.normal(size=queries))


@pytest.mark.parametrize("weaker", [1.0, 0.9])
def test_paired_differences_hold_the_true_one(weaker: float) -> None:
    """Two methods that agree by .8: of 200, 93% or more; where they are alike, 7% or less leave out 0."""
    strong = 0.8
    true = 6 / np.pi * (np.arcsin(strong / 2) - np.arcsin(strong * weaker / 2))
    held, widths = [], []
    for trial in range(200):
        stream = rng(trial, "test paired")
        measured, common = shared(stream, 40), shared(stream, 40)
        noises = [np.sqrt(0.8) * common + np.sqrt(0.2) * shared(stream, 40) for _ in range(2)]
        sides = [p * measured + np.sqrt(1 - p**2) * e for p, e in zip((strong, strong * weaker), noises, strict=True)]
        (first, a), (second, b) = (judged(side, measured, trial) for side in sides)
        found = paired(a, b, 0.95)
        assert found["value"] == first["lds"] - second["lds"]
        held.append(found["interval"][0] <= true <= found["interval"][1])
        widths.append(np.ptp(found["interval"]) / np.hypot(np.ptp(first["interval"]), np.ptp(second["interval"])))
    assert 0.93 <= np.mean(held) <= 0.995
    assert np.mean(widths) < 0.7  # intervals of two methods judged apart: 1


def test_few_units_have_wide_intervals() -> None:
    """Means of 6 normal values: of 400, percentiles hold 86%, Student's t 95%."""
    held = []
    for trial in range(400):
        values = rng(trial, "test few").normal(size=6)
        again = values[rng(trial, "test few again").integers(6, size=(300, 6))].mean(1)
        held.append(
            [low <= 0 <= high for low, high in (percentile(again, 0.95), of_replicates(values.mean(), again, 6, 0.95))]
        )
    old, new = np.mean(held, axis=0)
    assert old < 0.9 < 0.93 <= new <= 0.98
    assert of_replicates(2.0, np.full(9, 2.0), 1, 0.95) == [2.0, 2.0]


def test_shares_stay_within_0_and_1() -> None:
    assert of_share(1.0, 0.0, 11, 0.95) == pytest.approx([0.712, 1.0], abs=1e-3)  # percentiles: [1, 1]
    low, high = of_share(0.9, 0.9 * 0.1 / 11, 11, 0.95)
    assert 0.4 < low < 0.9 < high < 1
    assert of_share(0.5, 0.0, 11, 0.95) == [0.5, 0.5]


def test_difference_is_paired() -> None:
    a, b = rng(5, "test difference").normal(size=(2, 300))
    assert difference(0.7, a + b, 0.6, b, 0.95) == {
        "value": pytest.approx(0.1),
        "interval": pytest.approx(percentile(a, 0.95)),
    }
    with pytest.raises(StudyError, match="paired difference of 300 and 299"):
        difference(0.7, a, 0.6, b[1:], 0.95)


def test_too_little_to_resample_is_refused() -> None:
    with pytest.raises(StudyError, match="needs 2 subsets"):
        resamples(0, 10, 1, 5)
