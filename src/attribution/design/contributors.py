"""Contributors, each a group of training examples, and coalitions of them, which models are trained on.

Shapley values are a weighted least-squares fit over all coalitions (Covert & Lee 2021), in which those of s of n have
the total weight (n - 1) / (s (n - s)), up to a factor. All coalitions of one contributor and of all but one are taken,
with that weight; of the others pairs of a coalition and its complement are drawn, s by those weights, then a uniform
set of that size. Lu et al. 2025 draw all of them, without pairs: the same limit, with more noise.
Coalitions by which contributors are judged have all one size: where sizes vary, whatever is mostly positive ranks
coalitions well, by their size alone.

Shape letters: N training examples, n contributors, K coalitions.
"""

from math import comb

import numpy as np

from attribution.core.rng import rng
from attribution.errors import StudyError

REPEATS = 8  # lists of examples are this often as long as the training set: see `rows`


def partition(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Contributor [N], of 0 to count - 1, of every example: each class is cut at random, into as many as every other.

    labels [N]. Contributors of one class follow each other. Raises StudyError where `count` is no multiple of the
    number of classes, or a class has fewer examples than contributors.
    """
    classes = np.unique(labels)
    shares, left = divmod(count, len(classes))
    if left or not shares:
        raise StudyError(f"contributors.count is {count}, no multiple of the {len(classes)} classes")
    owner = np.empty(len(labels), dtype=np.int64)
    for k, label in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) < shares:
            raise StudyError(
                f"class {label} has {len(rows)} examples for {shares} contributors: lower contributors.count"
            )
        shuffled = rng(seed, "contributors", int(label)).permutation(rows)
        for share, part in enumerate(np.array_split(shuffled, shares)):
            owner[part] = k * shares + share
    return owner


def sizes(count: int) -> np.ndarray:
    """Weight of all coalitions of each size 1 to n - 1 together, [n - 1], which sum to 1."""
    s = np.arange(1, count)
    weight = (count - 1) / (s * (count - s))
    return weight / weight.sum()


def drawn(number: int, count: int, seed: int) -> np.ndarray:
    """Drawn coalition `number`, [n] bool, of 2 to n - 2 contributors: of each pair its stream's draw, then the rest."""
    pair, second = divmod(number, 2)
    stream, weight = rng(seed, "coalition", pair), sizes(count)[1:-1]
    size = stream.choice(np.arange(2, count - 1), p=weight / weight.sum())
    return _members(stream.choice(count, size, replace=False), count) ^ bool(second)


def numbers(count: int, judging: int) -> dict[str, slice]:
    """What the fine-tuned coalitions after the first, that of all contributors, are, in their order."""
    ends = np.cumsum([1, count, count, judging]).tolist()
    names = ("without", "alone", "judging", "drawn")
    return {name: slice(first, end) for name, first, end in zip(names, ends, [*ends[1:], None], strict=True)}


def finetuned(number: int, count: int, judging: np.ndarray, seed: int) -> np.ndarray:
    """Coalition `number`, [n] bool, of those that the pruned model is fine-tuned on, in the order of `numbers`.

    All contributors; then without one each, one alone each, those of `judging` [K, n], and the drawn ones.
    """
    one = np.eye(count, dtype=bool)
    first = np.concatenate([np.ones((1, count), dtype=bool), ~one, one, judging])
    return first[number] if number < len(first) else drawn(number - len(first), count, seed)


def weights(count: int, pairs: np.ndarray) -> np.ndarray:
    """Weights [..., 2n + K] of the coalitions without one each, one alone each, and drawn in pairs.

    pairs [..., K / 2]: how often each pair counts.
    """
    ends = sizes(count)[0]
    single = np.full((*pairs.shape[:-1], 2 * count), ends / count)
    each = (1 - 2 * ends) * pairs / (2 * pairs.sum(-1, keepdims=True))
    return np.concatenate([single, np.repeat(each, 2, axis=-1)], axis=-1)


def judges(coalitions: int, count: int, fraction: float, seed: int) -> np.ndarray:
    """The first coalitions of floor(fraction n) contributors, all different, [K, n] bool.

    Raises StudyError where there are not so many.
    """
    size = int(fraction * count)
    if coalitions > comb(count, size):
        raise StudyError(
            f"there are {comb(count, size)} coalitions of {size} of {count} contributors; "
            "lower contributors.judge.coalitions"
        )
    found: dict[bytes, np.ndarray] = {}
    attempt = 0
    while len(found) < coalitions:
        one = _members(rng(seed, "judge", attempt).choice(count, size, replace=False), count)
        found.setdefault(one.tobytes(), one)
        attempt += 1
    return np.stack(list(found.values()))


def rows(owner: np.ndarray, coalition: np.ndarray) -> np.ndarray:
    """Training rows [8 N] of a coalition [n] bool: its examples over and over, so that all lists are equally long.

    Each stands there 8 times or more, and equally often but for one time. Raises StudyError where there are none.
    """
    own = np.flatnonzero(coalition[owner])
    if not len(own):
        raise StudyError("a coalition without contributors has no examples to train on")
    return np.resize(own, REPEATS * len(owner))


def _members(contributors: np.ndarray | list[int], count: int) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[contributors] = True
    return chosen
