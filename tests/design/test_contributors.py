"""Contributors share the examples out; coalitions follow the weights of Shapley values."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.design import contributors
from attribution.errors import StudyError


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(0, 9))
def test_each_class_is_shared_out_evenly(classes, shares, more, seed):
    labels = np.random.default_rng(seed).permutation(np.arange(classes * shares + more) % classes) * 3
    owner = contributors.partition(labels, classes * shares, seed)
    for k in range(classes * shares):
        assert set(labels[owner == k]) == {3 * (k // shares)}
    for label in range(classes):
        held = np.bincount(owner[labels == 3 * label], minlength=classes * shares)[label * shares :][:shares]
        assert held.max() - held.min() <= 1


def test_contributors_that_cannot_be_shared_out_are_refused():
    with pytest.raises(StudyError, match="contributors.count is 5, no multiple of the 2 classes"):
        contributors.partition(np.array([0, 0, 1, 1]), 5, 0)
    with pytest.raises(StudyError, match="class 1 has 1 examples for 2 contributors"):
        contributors.partition(np.array([0, 0, 1]), 4, 0)


@given(st.integers(4, 30), st.integers(0, 40), st.integers(0, 9))
def test_drawn_coalitions_come_in_pairs_of_complements(count, number, seed):
    one = contributors.drawn(number, count, seed)
    assert 2 <= one.sum() <= count - 2
    np.testing.assert_array_equal(one, ~contributors.drawn(number ^ 1, count, seed))


def test_sizes_of_drawn_coalitions_follow_their_weights():
    found = np.array([contributors.drawn(2 * pair, 7, 0).sum() for pair in range(4000)])
    expected = contributors.sizes(7)[1:-1]
    share = np.bincount(found, minlength=6)[2:6] / len(found)
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.03)  # 4 standard errors


def test_weights_are_those_of_shapley_values():
    """Of one and of all but one exactly, of the others on average: as many pairs as there are coalitions, once each."""
    count, pairs = 5, comb(5, 2)  # sizes 2 and 3 are each other's complements
    found = contributors.weights(count, np.ones(pairs))
    s = np.arange(1, count)
    kernel = (count - 1) / (np.array([comb(count, k) for k in s]) * s * (count - s))
    per = kernel / sum(kernel * [comb(count, k) for k in s])
    np.testing.assert_allclose(found[: 2 * count], per[0])
    np.testing.assert_allclose(found[2 * count :], per[1])
    assert found.sum() == pytest.approx(1)


@given(st.integers(4, 12), st.integers(0, 9))
def test_coalitions_that_are_fine_tuned(count, seed):
    judging = contributors.judges(3, count, 0.5, seed)
    found = np.stack([contributors.finetuned(k, count, judging, seed) for k in range(1 + 2 * count + 3 + 4)])
    assert found[0].all()
    np.testing.assert_array_equal(found[1 : 1 + count], ~np.eye(count, dtype=bool))
    np.testing.assert_array_equal(found[1 + count : 1 + 2 * count], np.eye(count, dtype=bool))
    np.testing.assert_array_equal(found[1 + 2 * count :][:3], judging)
    np.testing.assert_array_equal(found[-4:], [contributors.drawn(k, count, seed) for k in range(4)])


def test_judges_are_different_coalitions_of_one_size():
    found = contributors.judges(comb(6, 3), 6, 0.5, 0)
    assert (found.sum(1) == 3).all()
    assert len(np.unique(found, axis=0)) == len(found) == 20
    np.testing.assert_array_equal(contributors.judges(4, 6, 0.5, 0), found[:4])  # a larger design keeps the others
    with pytest.raises(StudyError, match="there are 20 coalitions of 3 of 6 contributors"):
        contributors.judges(21, 6, 0.5, 0)


@given(st.integers(1, 6), st.integers(6, 40), st.integers(0, 9))
def test_rows_are_the_coalitions_own_in_equal_parts(most, examples, seed):
    owner = np.random.default_rng(seed).permutation(np.arange(examples) % 6)
    coalition = np.arange(6) < most
    rows = contributors.rows(owner, coalition)
    assert len(rows) == contributors.REPEATS * examples
    times = np.bincount(rows, minlength=examples)
    assert (times[~coalition[owner]] == 0).all()
    assert times[coalition[owner]].min() >= contributors.REPEATS
    assert np.ptp(times[coalition[owner]]) <= 1


def test_an_empty_coalition_cannot_be_trained_on():
    with pytest.raises(StudyError, match="no examples"):
        contributors.rows(np.array([0, 1]), np.zeros(2, dtype=bool))
