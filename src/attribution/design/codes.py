"""Encoded splits: which unit each member of an ensemble is trained on (Dai & Gifford 2023, 2024).

A code is a binary matrix [N, M]: member j is trained on unit i where code[i, j] = 1. Rows are distinct and hold M/2
ones, so that each unit is unseen by M/2 members, no two units by the same ones, and, as no row of equal weight contains
another, every other unit is still known to some member that never saw i. Members together are the generator; those that
never saw i are the generator that would have been without i.

    random    rows drawn uniformly without replacement
    level     the same without complementary pairs, chosen so that any two columns' loads differ by at most 2
    balanced  level, and any two rows differ in 4 members or more

The papers' code is random; their page holds one that is balanced, by a way that is not described. Here balanced rows
come from one residue class of Graham and Sloane (1980): words of weight w with sum_j j c_j = a mod M have distance 4,
for changing one member for another changes the sum. The complement's sum is M (M - 1) / 2 - a, so that a class with
2 a != M (M - 1) / 2 mod M holds no complementary pair. At M = 16 the largest has 809 rows of the 12,870, and no code
of distance 4 has more than 1,396 (Johnson 1962): more units need level, random, or more members.

Shape letters: N units, M members, K null rows; n images of a member.
"""

from math import comb

import numpy as np

from attribution.core.rng import Name, rng
from attribution.errors import StudyError

KINDS = ("random", "level", "balanced")
LOADS_WITHIN = 2
BLOCK = 4096  # rows drawn at a time
ATTEMPTS = 20
POOL, FEWEST = 2, 512  # candidates for each row of a level code, and in all, where there are as many


def code(kind: str, units: int, members: int, seed: int, *names: Name) -> np.ndarray:
    """A code of that kind, [N, M] bool, from the stream called `names`.

    Raises StudyError for an odd or too small number of members, more units than there are rows, or loads that cannot be
    made level.
    """
    if kind not in KINDS:
        raise StudyError(f"code {kind!r} is not known (allowed: {', '.join(KINDS)})")
    most = capacity(kind, members)
    if not 1 <= units <= most:
        raise StudyError(f"{units} units, but a {kind} code of {members} members has at most {most} rows; {_FIX}")
    stream = rng(seed, "code", kind, *names)
    if kind == "random":
        return _drawn(stream, members, units, set())
    pool = min(most, max(FEWEST, POOL * units))
    spread = 0
    for _ in range(ATTEMPTS):  # exchanges may end early where candidates are few
        candidates = _drawn(stream, members, pool, set(), paired=False, spread=kind == "balanced")
        chosen = candidates[_levelled(candidates, units)]
        spread = np.ptp(chosen.sum(0))
        if spread <= LOADS_WITHIN:
            return chosen
    raise StudyError(f"a {kind} code of {units} units and {members} members: loads differ by {spread}; {_FIX}")


def null_rows(code: np.ndarray, count: int, seed: int, *names: Name) -> np.ndarray:
    """Rows of the same weight that belong to no unit, [K, M] bool, distinct from each other and from `code` [N, M]."""
    units, members = code.shape
    left = comb(members, members // 2) - units
    if count > left:
        raise StudyError(
            f"{count} null rows, but {units} units leave {left} of {members} members; lower ablation.nulls"
        )
    return _drawn(rng(seed, "null rows", *names), members, count, {row.tobytes() for row in code})


def capacity(kind: str, members: int) -> int:
    """How many rows a code of that kind can have. Raises StudyError for an odd number of members, or below 4."""
    if members < 4 or members % 2:
        raise StudyError(f"{members} members: an encoded ensemble needs an even number of 4 or more")
    every = comb(members, members // 2)
    return {"random": every, "level": every // 2, "balanced": _class_size(members, _residue(members))}[kind]


def shards(code: np.ndarray, unit: np.ndarray, least: int, seed: int, *names: Name) -> np.ndarray:
    """What each member is trained on: rows [M, n] of the images whose units are `unit` [images], ascending.

    Members are trained together, so all lists are as long as the longest, and no shorter than `least`: a member repeats
    images of its own, as evenly as possible, which ones by a stream. None ever holds an image of a unit that it must
    not see. Raises StudyError where a member would see nothing.
    """
    own = [np.flatnonzero(code[unit, j]) for j in range(code.shape[1])]
    if empty := [j for j, rows in enumerate(own) if not len(rows)]:
        raise StudyError(f"member {empty[0]} is trained on no unit: too few units for {len(own)} members")
    longest = max(least, *map(len, own))
    filled = []
    for j, rows in enumerate(own):
        times, rest = divmod(longest, len(rows))
        again = rng(seed, "repeats", *names, j).permutation(rows)[:rest]
        filled.append(np.sort(np.concatenate([np.tile(rows, times), again])))
    return np.stack(filled)


_FIX = "take another ablation.code, more ablation.members or fewer units"


def _drawn(
    stream: np.random.Generator,
    members: int,
    count: int,
    taken: set[bytes],
    paired: bool = True,
    spread: bool = False,
) -> np.ndarray:
    """`count` distinct rows of weight M/2, [count, M] bool, none in `taken`; without complementary pairs where not
    `paired`, of one residue class where `spread`.
    """
    half = np.repeat([True, False], members // 2)
    places, residue = stream.permutation(members), _residue(members)
    rows: list[np.ndarray] = []
    while len(rows) < count:
        drawn = stream.permuted(np.tile(half, (BLOCK, 1)), axis=1)
        if spread:
            drawn = drawn[drawn @ places % members == residue]
        for row in drawn:
            key = row.tobytes()
            if key in taken or (not paired and (~row).tobytes() in taken):
                continue
            taken.add(key)
            rows.append(row)
            if len(rows) == count:
                break
    return np.stack(rows)


def _levelled(candidates: np.ndarray, count: int) -> np.ndarray:
    """Positions [count] of candidates [P, M] whose column loads are level: one by one the row that evens out most, then
    exchanges of a chosen row for one that is not, while that evens out further.
    """
    signs = np.where(candidates, 1.0, -1.0)  # [P, M]; load - count / 2 is half the sum of the chosen
    free, chosen = np.ones(len(signs), dtype=bool), []
    total = np.zeros(signs.shape[1])
    for _ in range(count):
        pick = int(np.argmin(np.where(free, signs @ total, np.inf)))
        free[pick] = False
        chosen.append(pick)
        total += signs[pick]
    while np.ptp(total) > 2 * LOADS_WITHIN and free.any():
        inside, outside = np.array(chosen), np.flatnonzero(free)
        # |total - s_in + s_out|^2 - |total|^2 = 2 <total, s_out> - 2 <total, s_in> + |s_out - s_in|^2
        change = 2 * (signs[outside] @ total)[None] - 2 * (signs[inside] @ total)[:, None]
        change += 2 * (signs.shape[1] - signs[inside] @ signs[outside].T)
        best_in, best_out = np.unravel_index(np.argmin(change), change.shape)
        if change[best_in, best_out] >= 0:
            break
        leaving, entering = inside[best_in], outside[best_out]
        chosen[best_in] = int(entering)
        free[leaving], free[entering] = True, False
        total += signs[entering] - signs[leaving]
    return np.array(chosen)


def _residue(members: int) -> int:
    """The largest class of words without complementary pairs."""
    open_ = [a for a in range(members) if (2 * a - members * (members - 1) // 2) % members]
    return max(open_, key=lambda a: _class_size(members, a))


def _class_size(members: int, residue: int) -> int:
    """How many words of weight M/2 have sum_j j c_j = residue mod M, by counting member after member."""
    counts = np.zeros((members // 2 + 1, members), dtype=object)  # [weight, residue]
    counts[0, 0] = 1
    for j in range(members):
        counts[1:] = counts[1:] + np.roll(counts[:-1], j, axis=1)
    return int(counts[-1, residue])
