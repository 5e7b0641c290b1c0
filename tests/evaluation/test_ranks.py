"""Ranks are SciPy's, to the bit, and lie in memory as SciPy's do: sums over them round alike."""

import numpy as np
import pytest
from scipy.stats import rankdata

from attribution.core.rng import rng
from attribution.evaluation.ranks import average_ranks


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_ranks_are_those_of_scipy(axis: int, levels: int) -> None:
    """2 and 5 levels: ties in every row."""
    values = rng(0, "test ranks", levels).integers(0, levels, size=(7, 40, 9)).astype(float)
    found, expected = average_ranks(values, axis), rankdata(values, method="average", axis=axis)
    assert found.dtype == expected.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    assert found.strides == expected.strides


def test_whole_numbers_booleans_and_infinities() -> None:
    for values in ([[3, 1, 2], [0, 0, 0]], [[True, False, True]], [[np.inf, -np.inf, 0.0, -0.0, np.inf]], [[4.0]]):
        np.testing.assert_array_equal(average_ranks(np.array(values), 1), rankdata(values, axis=1))


def test_where_a_value_is_nan_no_rank_is_defined() -> None:
    values = np.array([[1.0, np.nan, 0.0], [2.0, 1.0, 1.0]])
    np.testing.assert_array_equal(average_ranks(values, 1), rankdata(values, axis=1))
    np.testing.assert_array_equal(average_ranks(values, 1)[0], [np.nan] * 3)
