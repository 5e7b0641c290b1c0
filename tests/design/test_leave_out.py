"""Training sets without one unit: of one length, the same elsewhere, and for units that may matter."""

import numpy as np
import pytest

from attribution.design.leave_out import replaced, sampled_units
from attribution.errors import StudyError


@pytest.mark.parametrize("unit", [np.arange(10), np.arange(10) % 4])
@pytest.mark.parametrize("least", [5, 10, 23])
def test_a_unit_is_gone_and_nothing_else_moves(unit, least):
    whole = replaced(unit, -1, least, 0, "x")
    assert len(whole) == max(10, least)
    assert set(whole.tolist()) == set(range(10))
    for left in range(unit.max() + 1):
        rows = replaced(unit, left, least, 0, "x")
        assert not (unit[rows] == left).any()
        changed = rows != whole
        np.testing.assert_array_equal(changed, unit[whole] == left)


def test_the_only_unit_cannot_leave():
    with pytest.raises(StudyError, match="without unit 0 there is no image"):
        replaced(np.zeros(4, dtype=int), 0, 2, 0)


def test_half_are_on_top_of_the_first_landscapes():
    factual = np.zeros((3, 1, 1, 1))
    moves = np.array([[9.0, 0, 0], [0, 8, 0], [0, 0, 7], [1, 1, 1], [2, 2, 2], [0, 0, 0]])
    units = sampled_units(factual, moves[:, :, None, None, None], 4, 0, "x")
    assert units[:2] == [0, 1]
    assert len(set(units)) == 4
    with pytest.raises(StudyError, match="7 units to leave out, but there are 6"):
        sampled_units(factual, moves[:, :, None, None, None], 7, 0, "x")
