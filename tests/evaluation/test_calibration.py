"""Predicted and actual decreases: shares and slopes that are known, and intervals that hold them."""

import json

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.calibration import calibration, changes

S, N, Q = 20, 12, 10
KINDS = np.array(["generated", "training"] * 5)


def test_changes_of_one_left_out_example() -> None:
    """A mean loss of N examples loses one of them: the prediction is its score over N."""
    masks = ~np.eye(3, dtype=bool)
    scores = np.array([[3.0, -6.0, 0.3]])
    predicted, actual = changes(
        scores, masks, np.array([[[5.0], [6.0], [7.0]], [[7.0], [6.0], [5.0]]]), np.array([[5.0], [6.0]])
    )
    np.testing.assert_allclose(predicted[:, 0], [1.0, -2.0, 0.1])
    np.testing.assert_allclose(actual[:, 0], [0.5, 0.5, 0.5])


def test_a_linear_world_is_foreseen() -> None:
    """Losses that are linear in who is in: what is predicted comes, with slope 1; doubled scores have slope 1/2."""
    stream = rng(0, "test linear")
    scores, masks = stream.normal(size=(Q, N)), stream.random((S, N)) < 0.5
    base = stream.normal(size=Q)
    outcomes = (base + (~masks).astype(float) @ scores.T / N)[None]
    for factor in (1.0, 2.0):
        record = calibration(*changes(factor * scores, masks, outcomes, base[None]), KINDS, 0, 50, 0.9)
        json.dumps(record, allow_nan=False)
        for kind in ("generated", "training"):
            entry = record[kind]
            assert entry["predicted"] == entry["actual"]
            assert entry["difference"] == {"value": 0.0, "interval": [0.0, 0.0]}
            assert entry["slope"]["value"] == pytest.approx(1 / factor)
            assert entry["slope"]["interval"] == pytest.approx([1 / factor] * 2)
            assert entry["n"] == {"queries": 5, "subsets": S}


def test_shares_are_of_pairs_and_of_a_kind() -> None:
    """Every actual change is up; a quarter of the subsets are predicted to help the training queries alone."""
    predicted, actual = np.ones((S, Q)), np.full((S, Q), 0.5)
    predicted[:5, KINDS == "training"] = -1.0
    record = calibration(predicted, actual, KINDS, 0, 400, 0.9)
    assert {name: record["generated"][name]["value"] for name in ("predicted", "actual", "slope")} == {
        "predicted": 0.0,
        "actual": 0.0,
        "slope": 0.5,
    }
    entry = record["training"]
    assert entry["predicted"]["value"] == entry["difference"]["value"] == 0.25
    assert entry["actual"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert entry["slope"]["value"] == pytest.approx(0.5 * (0.75 - 0.25))
    # the share moves with the drawn subsets alone: binomial, standard error sqrt(0.25 0.75 / 20) = 0.097
    low, high = entry["predicted"]["interval"]
    assert low == pytest.approx(0.25 - 1.645 * 0.097, abs=0.06)
    assert high == pytest.approx(0.25 + 1.645 * 0.097, abs=0.06)


def test_drawn_queries_widen_the_interval() -> None:
    """Half of the queries are always predicted to gain: no subset moves the share, the drawn queries do."""
    predicted = np.ones((S, Q))
    predicted[:, 0] = predicted[:, 2] = -1.0  # 2 of the 5 generated queries
    entry = calibration(predicted, np.ones((S, Q)), KINDS, 0, 400, 0.9)["generated"]
    assert entry["predicted"]["value"] == pytest.approx(0.4)
    assert entry["predicted"]["interval"] == pytest.approx([0.0, 0.8], abs=0.01)


def test_changes_are_within_replicates() -> None:
    """The second replicate trains to losses that are higher by 10, on all examples too: no change at all."""
    outcomes = np.zeros((3, S, Q)) + np.array([0.0, 10.0, 99.0])[:, None, None]
    masks = rng(2, "test masks").random((S, N)) < 0.5
    _, actual = changes(np.ones((Q, N)), masks, outcomes, np.array([[0.0] * Q, [10.0] * Q]))
    np.testing.assert_array_equal(actual, np.zeros((S, Q)))  # 31 with all three replicates, -5 or 5 unpaired


def test_intervals_cover_the_share_of_the_population() -> None:
    """Pairs fall below 0 with a chance that depends on subset and query, on average 1/2: nominal coverage 0.9."""
    trials, covered = 100, 0
    for trial in range(trials):
        stream = rng(trial, "test coverage")
        x = stream.normal(size=(30, 1)) + stream.normal(size=(1, 12)) + stream.normal(size=(30, 12))
        entry = calibration(x, np.ones_like(x), np.zeros(12, dtype=int), trial, 200, 0.9)["generated"]
        low, high = entry["predicted"]["interval"]
        covered += low <= 0.5 <= high
    assert 0.8 <= covered / trials <= 0.99


def test_what_cannot_be_compared_is_refused() -> None:
    masks, outcomes = np.ones((S, N), dtype=bool), np.ones((2, S, Q))
    for bad in (np.ones((1, Q - 1)), np.full((1, Q), np.nan), np.ones(Q)):
        with pytest.raises(StudyError, match="10 finite losses"):
            changes(np.ones((Q, N)), masks, outcomes, bad)
    with pytest.raises(StudyError, match="predicted changes"):
        changes(np.ones((Q - 1, N)), masks, outcomes, np.ones((1, Q)))
    with pytest.raises(StudyError, match="all zero"):
        calibration(np.zeros((S, Q)), np.ones((S, Q)), KINDS, 0, 10, 0.9)
