"""Codes of encoded ensembles: what they promise for any size, that they differ, and that members keep to them."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.design import codes
from attribution.errors import StudyError


def between(rows: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs of rows."""
    distance = (rows[:, None] != rows[None]).sum(2)
    return distance[np.triu_indices(len(rows), 1)]


@st.composite
def sizes(draw):
    kind = draw(st.sampled_from(codes.KINDS))
    members = draw(st.sampled_from([6, 8, 10, 16, 20]))
    most = codes.capacity(kind, members)
    # of the last rows of a class there is no choice, so that loads may not level: at most half of them
    return kind, draw(st.integers(2, min(60, max(2, most // 2 if kind != "random" else most)))), members


@settings(max_examples=60)
@given(sizes(), st.integers(0, 3))
def test_what_every_code_promises(size, seed):
    kind, units, members = size
    code = codes.code(kind, units, members, seed, "x")
    assert code.shape == (units, members)
    assert (code.sum(1) == members // 2).all()  # so both who saw a unit and who did not are M/2 members
    assert len({row.tobytes() for row in code}) == units
    for i, k in combinations(range(units), 2):  # antichain: without i, some member still knows k
        assert (code[k] & ~code[i]).any()
    if kind != "random":
        assert np.ptp(code.sum(0)) <= 2
        assert between(code).max() < members  # no complementary pair
    if kind == "balanced":
        assert between(code).min() >= 4


@pytest.mark.parametrize(
    ("kind", "units", "members"), [("level", 1000, 16), ("level", 1437, 16), ("balanced", 384, 16)]
)
def test_sizes_of_the_studies(kind, units, members):
    """Loads of a plain draw of 1,000 rows spread over some 40."""
    code = codes.code(kind, units, members, 0, "enc")
    assert np.ptp(code.sum(0)) <= 2
    assert len(np.unique(code, axis=0)) == units
    assert np.ptp(codes.code("random", units, members, 0, "enc").sum(0)) > 2


@pytest.mark.parametrize("members", [4, 6, 8, 10])
def test_capacities_by_enumeration(members):
    words = [sum(word) % members for word in combinations(range(members), members // 2)]
    counts = np.bincount(words, minlength=members)
    assert [codes._class_size(members, a) for a in range(members)] == counts.tolist()
    assert codes.capacity("random", members) == comb(members, members // 2)
    total = members * (members - 1) // 2
    assert codes.capacity("balanced", members) == max(counts[a] for a in range(members) if (2 * a - total) % members)


@pytest.mark.parametrize(
    ("kind", "units", "members", "message"),
    [
        ("random", 21, 6, "at most 20 rows"),
        ("level", 11, 6, "at most 10 rows"),
        ("balanced", 1000, 16, "at most 809 rows"),
        ("random", 2, 5, "even number"),
        ("random", 2, 2, "even number"),
        ("other", 2, 6, "not known"),
        ("random", 0, 6, "0 units"),
    ],
)
def test_what_cannot_be_is_refused(kind, units, members, message):
    with pytest.raises(StudyError, match=message):
        codes.code(kind, units, members, 0)


def test_a_whole_capacity_is_drawn():
    assert len(np.unique(codes.code("random", 20, 6, 0), axis=0)) == 20


def test_codes_depend_on_seed_and_names_alone():
    first = codes.code("level", 30, 10, 0, "enc30")
    np.testing.assert_array_equal(first, codes.code("level", 30, 10, 0, "enc30"))
    for other in (codes.code("level", 30, 10, 1, "enc30"), codes.code("level", 30, 10, 0, "enc31")):
        assert (first != other).any()


def test_null_rows_belong_to_nobody():
    code = codes.code("random", 15, 6, 0, "x")
    nulls = codes.null_rows(code, 5, 0, "x")  # all that is left of 20
    assert (nulls.sum(1) == 3).all()
    assert len(np.unique(np.concatenate([code, nulls]), axis=0)) == 20
    with pytest.raises(StudyError, match="6 null rows, but 15 units leave 5"):
        codes.null_rows(code, 6, 0, "x")


@given(st.integers(10, 60), st.integers(1, 80), st.booleans())
def test_members_hold_all_of_their_own_and_nothing_else(units, least, grouped):
    """Equal lengths: a code with uneven loads must not cut a member short, nor lend it a stranger's image."""
    code = codes.code("random", units, 8, 0, "x")
    unit = np.arange(units) if not grouped else np.arange(3 * units) % units
    shards = codes.shards(code, unit, least, 0, "x")
    assert shards.shape[1] == max(least, max(code[unit, j].sum() for j in range(8)))
    for j, rows in enumerate(shards):
        counts = np.bincount(rows, minlength=len(unit))
        assert (counts[~code[unit, j]] == 0).all()
        assert np.ptp(counts[code[unit, j]]) <= 1  # repeated as evenly as can be
        assert counts[code[unit, j]].min() >= 1


def test_a_member_without_units_is_refused():
    with pytest.raises(StudyError, match="member 2 is trained on no unit"):
        codes.shards(np.array([[True, True, False, False]]), np.arange(1), 1, 0)


def test_the_share_that_a_group_leaves_is_two_to_the_minus_k():
    code = codes.code("random", 500, 16, 0, "x")
    removed = np.zeros((2000, 500), dtype=bool)
    draws = np.random.default_rng(0)
    for row in removed:
        row[draws.choice(500, 2, replace=False)] = True
    left = ~((removed.astype(int) @ code.astype(int)) > 0)
    assert left.mean() == pytest.approx(0.25, abs=0.02)
