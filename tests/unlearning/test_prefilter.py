"""Cheaper rankings: with everything evaluated they are the full pass, their cost is counted, bad draws lose nothing."""

import numpy as np
import pytest

from attribution.errors import StudyError
from attribution.evaluation.fidelity import by_draws, mean_interval, rank_correlation, recall, split_half
from attribution.unlearning.prefilter import candidates, estimate, rounds, sequential

N, S = 60, 16
RNG = np.random.default_rng(0)
VALUES = np.sort(RNG.normal(size=N))[::-1].copy()
TERMS = VALUES[:, None] + 0.1 * RNG.normal(size=(N, S))
FULL = TERMS.mean(1)


def look_up(rows, draws):
    return TERMS[rows, draws]


def test_candidates_are_the_top_and_a_sample_of_the_rest() -> None:
    cheap = np.arange(N)[::-1].astype(float)
    top, sample = candidates(cheap, 10, 5, 0, 3)
    assert top.tolist() == list(range(10))
    assert len(set(sample)) == 5
    assert min(sample) >= 10
    assert not np.array_equal(sample, candidates(cheap, 10, 5, 0, 4)[1])
    with pytest.raises(StudyError, match="more than 60 examples"):
        candidates(cheap, 58, 3, 0, 0)


def test_rounds_double_the_draws() -> None:
    assert rounds(100, 3) == [25, 50, 100]
    assert rounds(1, 3) == [1, 1, 1]
    assert rounds(100, 1) == [100]


def test_one_round_of_everything_is_the_full_pass() -> None:
    found, cost = estimate(VALUES, np.arange(N - 3), np.arange(N - 3, N), look_up, S, 1, 5)
    np.testing.assert_allclose(found, FULL, rtol=1e-12)
    assert cost == pytest.approx(1.0)


def test_cost_is_counted() -> None:
    """20 candidates at 4 draws, 10 at 4 more, 5 at 8 more, and 6 sampled at 16."""
    _, cost = estimate(VALUES, np.arange(20), np.arange(20, 26), look_up, S, 3, 3)
    assert cost == pytest.approx((20 * 4 + 10 * 4 + 5 * 8 + 6 * 16) / (N * S))


def test_survivors_have_all_draws_and_no_draw_is_taken_twice() -> None:
    asked = []

    def evaluate(rows, draws):
        asked.extend((n, s) for n in rows.tolist() for s in range(S)[draws])
        return TERMS[rows, draws]

    means, used = sequential(evaluate, np.arange(20), S, 3, 3)
    assert len(asked) == len(set(asked)) == used.sum()
    assert sorted(np.unique(used)) == [4, 8, 16]
    np.testing.assert_allclose(means[used == S], FULL[:20][used == S], rtol=1e-12)
    assert (used == S).sum() == 5


def test_the_top_is_found_and_the_rest_calibrated() -> None:
    """A cheap score that is the truth with noise: the top 5 at a quarter of the cost, ranks over all of 0.9 and more.

    Leaving the rest at zero, between good and bad ones, would score 0.5.
    """
    cheap = VALUES + 0.2 * np.random.default_rng(1).normal(size=N)
    top, sample = candidates(cheap, 20, 8, 0, 0)
    found, cost = estimate(cheap, top, sample, look_up, S, 3, 5)
    assert cost < 0.35
    assert recall(FULL[None], found[None], 5)[0] == 1.0
    assert rank_correlation(FULL[None], found[None])[0] > 0.9


def test_early_leavers_stay_below_survivors() -> None:
    """The mean of one lucky draw does not overtake a mean of all of them."""
    terms = TERMS.copy()
    terms[:, 0] = 60 * np.random.default_rng(2).normal(size=N)
    means, used = sequential(lambda rows, part: terms[rows, part], np.arange(20), S, 3, 3)
    found, _ = estimate(VALUES, np.arange(20), np.arange(20, 30), lambda r, p: terms[r, p], S, 3, 3)
    assert means[used < S].max() > means[used == S].min()
    assert found[:20][used < S].max() <= found[:20][used == S].min()


def test_recall_and_reliability_by_hand() -> None:
    full, other = np.array([[4.0, 3, 2, 1]]), np.array([[4.0, 1, 3, 2]])
    assert recall(full, other, 2).tolist() == [0.5]
    assert recall(full, full, 3).tolist() == [1.0]
    assert rank_correlation(full, np.ones((1, 4))).tolist() == [0.0]
    noise = RNG.normal(size=(3, N, S))
    assert np.abs(split_half(noise)).max() < 0.6
    assert (split_half(TERMS[None]) > 0.98).all()
    found = by_draws(TERMS[None], (4, 16))
    assert found[4][0] < found[16][0] == pytest.approx(1.0)


def test_interval_holds_the_mean() -> None:
    record = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), 0, 500, 0.9)
    assert record["value"] == 0.75
    assert record["interval"][0] < 0.75 < record["interval"][1] <= 1.0
    assert record["n"] == {"queries": 4}
