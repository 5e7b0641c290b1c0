"""Random subsets: their sizes, their independence of how many there are, and their statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.design.subsets import masks, subset


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.floats(0.05, 0.95), st.integers(0, 1000), st.integers(0, 5))
def test_members_are_ascending_rows_without_repeats(examples, fraction, number, seed):
    members = subset(seed, number, examples, fraction)
    assert len(members) == round(fraction * examples)
    assert members.dtype == np.int64
    assert (np.diff(members) > 0).all()
    assert len(members) == 0 or (0 <= members[0] <= members[-1] < examples)


@pytest.mark.parametrize(("examples", "fraction", "size"), [(1000, 0.5, 500), (40, 0.25, 10), (100, 0.29, 29)])
def test_sizes(examples, fraction, size):
    """0.29 * 100 is 28.999999999999996: cut off instead of rounded it would be 28."""
    assert len(subset(0, 0, examples, fraction)) == size


def test_pinned_values():
    assert subset(0, 3, 12, 0.5).tolist() == [1, 2, 7, 8, 9, 10]


def test_a_subset_depends_on_its_number_alone():
    """64 subsets begin with the 24 that a smaller design has, in any order of drawing."""
    few = [subset(0, number, 100, 0.5).tolist() for number in range(24)]
    many = [subset(0, number, 100, 0.5).tolist() for number in reversed(range(64))][::-1]
    assert many[:24] == few
    assert len({tuple(members) for members in many}) == 64
    assert subset(1, 0, 100, 0.5).tolist() != few[0]


def test_every_example_is_as_likely():
    """Of 400 subsets of half, an example is in 200, standard deviation 10; two examples together in 99.5, sd 8.6."""
    mask = masks((subset(0, number, 50, 0.5) for number in range(400)), 50)
    assert mask.shape == (400, 50)
    assert mask.dtype == bool
    assert (mask.sum(1) == 25).all()
    assert np.abs(mask.sum(0) - 200).max() < 45
    together = mask.T.astype(int) @ mask
    off = together[~np.eye(50, dtype=bool)]
    # Blocks of neighbours, or one pool cut in two, would put pairs together in all subsets or none.
    assert abs(off.mean() - 400 * 25 * 24 / (50 * 49)) < 1e-9
    assert np.abs(off - off.mean()).max() < 45


def test_masks_by_hand():
    found = masks([np.array([0, 2]), np.array([1])], 4)
    assert found.tolist() == [[True, False, True, False], [False, True, False, False]]
    assert masks([], 3).shape == (0, 3)
