"""Shapley values against their definition, and what they must satisfy; correlations against NumPy's."""

from itertools import chain, combinations
from math import comb, factorial

import numpy as np
import pytest

from attribution.design import contributors
from attribution.errors import StudyError
from attribution.evaluation import shapley

N = 6
GAME = np.random.default_rng(0).normal(size=(2**N, 2))  # two properties of every coalition


def every():
    """All coalitions of N, [2^N, N] bool, in the order of their binary numbers."""
    return (np.arange(2**N)[:, None] >> np.arange(N) & 1).astype(bool)


def by_definition(game):
    """phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (F(S + i) - F(S))."""
    found = np.zeros((N, game.shape[1]))
    for i in range(N):
        others = [j for j in range(N) if j != i]
        for S in chain.from_iterable(combinations(others, size) for size in range(N)):
            number = sum(1 << j for j in S)
            weight = factorial(len(S)) * factorial(N - len(S) - 1) / factorial(N)
            found[i] += weight * (game[number | 1 << i] - game[number])
    return found


def over_all(game, estimate):
    """The least squares over all coalitions with the kernel's weights."""
    x = every()[1:-1]
    size = x.sum(1)
    weights = contributors.sizes(N)[size - 1] / np.array([comb(N, s) for s in size])
    return estimate(x, game[1:-1], weights, game[0], game[-1])


BOTH = pytest.mark.parametrize("estimate", [shapley.least_squares, shapley.values])


@BOTH
def test_over_all_coalitions_they_are_the_shapley_values(estimate):
    np.testing.assert_allclose(over_all(GAME, estimate), by_definition(GAME), atol=1e-12)


@BOTH
def test_equal_contributors_are_worth_the_same_and_one_without_a_part_nothing(estimate):
    x = every().astype(float)
    game = np.column_stack([x[:, 0] * x[:, 1] + 3 * x[:, 2], x.sum(1) ** 2])  # 3 to 5 have no part in the first
    found = over_all(game, estimate)
    np.testing.assert_allclose(found[:, 0], [0.5, 0.5, 3, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found[:, 1], N, atol=1e-12)


@BOTH
@pytest.mark.parametrize("pairs", [1, 3, 40])
def test_drawn_coalitions(pairs, estimate):
    """Efficient however few they are; exact for a game that is a sum; near the values of any other with many."""
    one = np.eye(N, dtype=bool)
    drawn = np.stack([contributors.drawn(k, N, 0) for k in range(2 * pairs)])
    x = np.concatenate([~one, one, drawn])
    weights = contributors.weights(N, np.ones(pairs))
    numbers = x @ (1 << np.arange(N))
    found = estimate(x, GAME[numbers], weights, GAME[0], GAME[-1])
    np.testing.assert_allclose(found.sum(0), GAME[-1] - GAME[0], atol=1e-12)
    if pairs == 40:
        assert np.abs(found - by_definition(GAME)).max() < 0.3
    worth = np.arange(1.0, 1 + N)[:, None]
    added = estimate(x, x @ worth + 2, weights, np.array([2.0]), worth.sum(0) + 2)
    np.testing.assert_allclose(added, worth, atol=1e-12)


def test_what_depends_on_size_makes_no_noise_once_it_is_taken_out():
    """A jump from nothing to one contributor, and a game a + b / |S| on top: the same for all, exactly."""
    one = np.eye(N, dtype=bool)
    x = np.concatenate([~one, one, [contributors.drawn(k, N, 0) for k in range(6)]])
    weights = contributors.weights(N, np.ones(3))
    worth = (5 - 2 / x.sum(1))[:, None]
    game = (x, worth, weights, np.array([-90.0]), np.array([5 - 2 / N]))
    np.testing.assert_allclose(shapley.values(*game), (5 - 2 / N + 90) / N, atol=1e-10)
    assert np.ptp(shapley.least_squares(*game)) > 1


def test_contributors_that_always_come_together_cannot_be_told_apart():
    x = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=bool)
    with pytest.raises(StudyError, match="3 coalitions do not tell 3 contributors apart"):
        shapley.least_squares(x, np.ones((3, 1)), np.full(3, 1 / 3), np.zeros(1), np.ones(1))


def test_correlation_and_its_deviations_are_those_of_leaving_out():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(60, 3))
    b = a + rng.normal(size=(60, 3))
    found = shapley.pearson(a, b)
    np.testing.assert_allclose(found[0], [np.corrcoef(a[:, p], b[:, p])[0, 1] for p in range(3)])
    left = [shapley.pearson(np.delete(a, k, 0), np.delete(b, k, 0))[0] for k in range(60)]
    np.testing.assert_allclose(found[1:], found[0] - left, atol=0.012)  # they are up to 0.07
    assert np.isnan(shapley.pearson(np.ones((4, 1)), a[:4, :1])).all()


def test_intervals_count_training_noise_and_know_exact_games():
    """Of a sum nothing is uncertain; with noise the error is within the interval, nominal 95 %, of 8 of 10 games."""
    one = np.eye(N, dtype=bool)
    x = np.concatenate([~one, one, [contributors.drawn(k, N, 0) for k in range(12)]])
    weights, worth, empty = contributors.weights(N, np.ones(6)), np.arange(1.0, 1 + N)[:, None], np.zeros(1)
    assert shapley.half_width(x, x @ worth, weights, empty, worth.sum(0), 0.95).max() < 1e-10
    inside = []
    for seed in range(40):
        noisy = x @ worth + np.random.default_rng(seed).normal(size=(len(x), 1))
        half = shapley.half_width(x, noisy, weights, empty, worth.sum(0), 0.95)
        inside.append(np.abs(shapley.values(x, noisy, weights, empty, worth.sum(0)) - worth) < half)
    # percentiles of refits to resampled pairs, which leave the noise of the ends out, hold 60 to 75 %
    assert np.mean(inside) > 0.93
