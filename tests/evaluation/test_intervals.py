"""Two-way bootstrap: ranks inside a resample, pairing, coverage of a known population value."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.intervals import (
    bootstrap,
    difference,
    percentile,
    resampled_mean,
    resampled_spearman,
    resamples,
)


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


@pytest.mark.parametrize("levels", [None, 4])
def test_ranks_are_recomputed_inside_every_resample(levels: int | None) -> None:
    stream = rng(0, "test resampled")
    a, b = stream.normal(size=(2, 15, 3))
    if levels:
        a, b = np.round(a * levels / 3), np.round(b * levels / 3)
    counts, _ = resamples(1, 12, 15, 3)
    fast = resampled_spearman(a, b, counts)
    for row, count in zip(fast, counts.astype(int), strict=True):
        drawn = np.repeat(np.arange(15), count)
        brute = [spearmanr(a[drawn, q], b[drawn, q]).statistic for q in range(3)]
        # Pearson over the original ranks, the usual short cut, is off by 0.01 to 0.1
        np.testing.assert_allclose(row, brute, atol=1e-12)


def test_mean_over_queries_follows_the_counts_and_skips_undefined_ones() -> None:
    correlations = np.array([[0.5, -1.0, np.nan], [1.0, 0.0, 0.2]])
    counts = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    np.testing.assert_allclose(resampled_mean(correlations, counts), [0.0, 0.4 / 3])
    np.testing.assert_allclose(resampled_mean(correlations, np.array([[1.0, 0.0, 2.0]] * 2)), [0.5, 1.4 / 3])
    with pytest.raises(StudyError, match="no query whose values vary"):
        resampled_mean(correlations, np.array([[0.0, 0.0, 3.0]] * 2))


def test_percentile_is_central() -> None:
    assert percentile(np.arange(101.0), 0.9) == pytest.approx([5.0, 95.0])
    with pytest.raises(StudyError, match="coverage"):
        percentile(np.arange(3.0), 95.0)


def population(stream: np.random.Generator, subsets: int, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and losses [S, Q], standard normal with correlation rho[q]; queries share 70 % of their variance."""
    common, own = np.sqrt(0.7), np.sqrt(0.3)

    def shared() -> np.ndarray:
        return common * stream.normal(size=(subsets, 1)) + own * stream.normal(size=(subsets, len(rho)))

    prediction = shared()
    return prediction, rho * prediction + np.sqrt(1 - rho**2) * shared()


def test_interval_covers_the_population_value() -> None:
    trials, subsets, queries = 120, 30, 10
    covered, covered_by_queries = 0, 0
    expected = np.mean([6 / np.pi * np.arcsin(r / 2) for r in (0.3, 0.8)])  # Spearman of a bivariate normal
    for trial in range(trials):
        stream = rng(trial, "test coverage")
        prediction, measured = population(stream, subsets, stream.choice([0.3, 0.8], size=queries))
        draws = resamples(trial, 200, subsets, queries)
        (low, high), _ = bootstrap(prediction, measured, draws, 0.9)
        covered += low <= expected <= high
        (low, high), _ = bootstrap(prediction, measured, (np.ones_like(draws[0]), draws[1]), 0.9)
        covered_by_queries += low <= expected <= high
    # nominal 0.90 with a binomial deviation of 0.027; queries alone cover far less
    assert 0.82 <= covered / trials <= 0.98
    assert covered_by_queries / trials < 0.75


def test_difference_is_paired() -> None:
    stream = rng(5, "test paired")
    prediction, measured = population(stream, 30, np.full(10, 0.7))
    better = prediction + 0.05 * stream.normal(size=prediction.shape)
    worse = prediction + 1.00 * stream.normal(size=prediction.shape)
    draws = resamples(0, 300, 30, 10)
    (_, a), (_, b) = bootstrap(better, measured, draws, 0.95), bootstrap(worse, measured, draws, 0.95)
    paired = difference(0.7, a, 0.6, b, 0.95)
    assert paired["value"] == pytest.approx(0.1)
    low, high = paired["interval"]
    unpaired = percentile(a - stream.permutation(b), 0.95)
    # other resamples for the second method give the unpaired interval, which is wide enough to hold 0
    assert low > 0 > unpaired[0]
    assert high - low < 0.6 * (unpaired[1] - unpaired[0])
    assert difference(0.7, a, 0.7, a, 0.95) == {"value": 0.0, "interval": [0.0, 0.0]}
    with pytest.raises(StudyError, match="paired difference of 300 and 299"):
        difference(0.7, a, 0.6, b[1:], 0.95)


def test_too_little_to_resample_is_refused() -> None:
    with pytest.raises(StudyError, match="needs 2 subsets"):
        resamples(0, 10, 1, 5)
