"""Generally influential examples: constructed lists have known overlaps, and intervals hold the population's."""

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.hubness import hubness, in_list, query_counts
from attribution.evaluation.intervals import percentile

N, K = 40, 5
NORMS = np.arange(1.0, N + 1)


def judged(scores: np.ndarray, **changes) -> dict:
    return hubness(scores, NORMS, **({"k": K, "seed": 0, "bootstrap": 200, "coverage": 0.9} | changes))[0]


def lists(rows: list[list[int]]) -> np.ndarray:
    """Scores whose highest are the given examples; the rest is small noise."""
    scores = 0.01 * rng(0, "test rest").random((len(rows), N))
    for row, examples in zip(scores, rows, strict=True):
        row[examples] = 1.0
    return scores


def test_one_list_for_all() -> None:
    record = judged(lists([[0, 1, 2, 3, 4]] * 6))
    assert record["overlap"] == {"value": 1.0, "interval": [1.0, 1.0]}
    assert record["distinct"] == pytest.approx(1 / 6)
    assert record["most"] == 1.0
    assert record["n"] == {"queries": 6, "examples": N}


def test_a_list_for_each() -> None:
    record = judged(lists([list(range(5 * q, 5 * q + 5)) for q in range(8)]))
    # a query drawn twice shares its list with itself: counted, the interval would reach to 0.25 and more
    assert record["overlap"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert record["distinct"] == 1.0
    assert record["most"] == 1 / 8


def test_one_example_in_every_other_list() -> None:
    rows = [[39 if q % 2 else 38 - q, *range(4 * q, 4 * q + 4)] for q in range(8)]
    record = judged(lists(rows))
    pairs = [len(set(a) & set(b)) / K for i, a in enumerate(rows) for b in rows[:i]]
    assert record["overlap"]["value"] == pytest.approx(np.mean(pairs))
    assert record["distinct"] == pytest.approx(len({n for row in rows for n in row}) / 40)
    assert record["most"] == 0.5
    low, high = record["overlap"]["interval"]
    assert low < record["overlap"]["value"] < high


def test_ties_go_to_the_first_examples() -> None:
    assert in_list(np.zeros((2, 6)), 2).tolist() == [[1, 1, 0, 0, 0, 0]] * 2


def test_scores_that_grow_with_the_norm_correlate_with_it() -> None:
    directions = rng(1, "test directions").normal(size=(12, N))
    with_length = judged(directions * NORMS**3)
    without = judged(directions)
    assert with_length["norm_correlation"]["value"] > 0.9
    assert abs(without["norm_correlation"]["value"]) < 3 / np.sqrt(N - 1)
    assert judged(-directions * NORMS**3)["norm_correlation"] == with_length["norm_correlation"]  # of |scores|
    exact = judged(np.outer([1.0, 2.0, -3.0], NORMS[::-1]))["norm_correlation"]
    assert exact == {"value": pytest.approx(-1.0), "interval": pytest.approx([-1.0, -1.0])}


def test_differences_are_paired() -> None:
    """Queries differ much in how far they share their lists; of two methods alike in that, one shares a bit more."""
    stream = rng(2, "test paired")
    common = stream.random((20, N)) + 1.5 * (stream.random((20, 1)) < 0.5) * (np.arange(N) < K)
    more = common + 0.1 * (np.arange(N) < K)
    (a, spread_a), (b, spread_b) = (hubness(s, NORMS, K, 0, 400, 0.9) for s in (more, common))
    paired = percentile(spread_a["overlap"] - spread_b["overlap"], 0.9)
    apart = percentile(spread_a["overlap"] - stream.permutation(spread_b["overlap"]), 0.9)
    assert paired[0] < a["overlap"]["value"] - b["overlap"]["value"] < paired[1]
    assert paired[1] - paired[0] < 0.9 * (apart[1] - apart[0])


def test_intervals_cover_the_overlap_of_the_population() -> None:
    """A query takes the common list with chance 0.4, else one of its own: two share theirs with chance 0.16, and two of
    their own have K of the other N - K examples in common by chance.
    """
    trials, covered, population = 100, 0, 0.16 + 0.36 * K / (400 - K)
    for trial in range(trials):
        stream = rng(trial, "test coverage")
        scores = stream.random((30, 400))
        scores[:, :K] += np.where(stream.random((30, 1)) < 0.4, 1.0, -1.0)
        record, _ = hubness(scores, np.arange(400.0), K, trial, 200, 0.9)
        low, high = record["overlap"]["interval"]
        covered += low <= population <= high
    assert 0.8 <= covered / trials <= 0.98


def test_resamples_hold_two_queries_or_more() -> None:
    counts = query_counts(0, 300, 2)
    assert (counts == 1).all()
    assert (query_counts(0, 50, 7).sum(1) == 7).all()


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(StudyError, match="nothing to compare"):
        judged(np.ones((1, N)))
    with pytest.raises(StudyError, match="nothing to compare"):
        judged(np.ones((3, N)), k=N)
    with pytest.raises(StudyError, match="nothing to correlate"):
        judged(np.ones((3, N)))
