"""The draw: disjoint parts, an order that depends on the seed alone, and rows that stay when the sizes grow."""

import numpy as np
import pytest

from attribution.data.dataset import Dataset
from attribution.data.split import split
from attribution.errors import StudyError


def dataset(train, test):
    size = train + test
    images = np.zeros((size, 1, 2, 2), np.float32)
    split = np.array([0] * train + [1] * test, np.uint8)
    return Dataset("toy", "made here", "none", images, np.arange(size), split)


@pytest.mark.parametrize("test_rows", [0, 30])
def test_parts_are_disjoint_and_cover_what_they_should(test_rows):
    found = split(dataset(100, test_rows), seed=3, train=40)
    assert len(found.train) == 40
    assert not set(found.train) & set(found.heldout)
    assert max(found.train) < 100
    expected = set(range(100, 130)) if test_rows else set(range(100)) - set(found.train)
    assert set(found.heldout) == expected
    assert len(found.heldout) == len(expected)


@pytest.mark.parametrize("test_rows", [0, 30])
def test_a_larger_training_set_keeps_the_first_rows_of_both_parts(test_rows):
    whole = dataset(100, test_rows)
    small, large = split(whole, 3, 40), split(whole, 3, 70)
    np.testing.assert_array_equal(large.train[:40], small.train)
    np.testing.assert_array_equal(large.heldout[:30], small.heldout[:30])


def test_order_is_a_shuffle_that_the_seed_decides():
    whole = dataset(100, 0)
    one, again, other = (split(whole, seed, 50).train for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    # Two shuffles of 100 agree in one place on average; a seed that is ignored agrees in all 50.
    assert (one == other).sum() < 10
    assert (one == np.arange(50)).sum() < 10


@pytest.mark.parametrize("train", [101, 0])
def test_too_few_examples_name_the_key(train):
    with pytest.raises(StudyError, match=r"data.train: .*toy has \d+"):
        split(dataset(100, 0), 0, train)
    split(dataset(100, 0), 0, 100)
