"""Damping is chosen on one half of the subsets and reported on the other: no leak between them."""

import json

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.evaluate import evaluate, evaluate_targets
from attribution.evaluation.intervals import correlations
from attribution.evaluation.selection import by_kind, halves, select, sweep

SUBSETS, EXAMPLES, QUERIES = 32, 80, 20
KINDS = np.array(["training", "heldout"] * 10)


def study(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks [S, N] of half the examples each, weights [Q, N], outcomes [2, S, Q]."""
    stream = rng(seed, "test study")
    masks = np.zeros((SUBSETS, EXAMPLES), dtype=bool)
    for row in masks:
        row[stream.choice(EXAMPLES, EXAMPLES // 2, replace=False)] = True
    weights = stream.normal(size=(QUERIES, EXAMPLES))
    truth = (~masks).astype(float) @ weights.T
    return masks, weights, truth + noise * stream.normal(size=(2, SUBSETS, QUERIES))


def run(scores: np.ndarray, masks: np.ndarray, outcomes: np.ndarray, default: float = 1.0, seed: int = 0):
    return evaluate(scores, np.array([0.1, 1.0], np.float32), default, masks, outcomes, KINDS, seed, 0.9)


def test_halves_are_a_fixed_partition() -> None:
    split = halves(33, 7)
    assert sorted(split["selection"] + split["reporting"]) == list(range(33))
    assert len(split["selection"]) == 17
    assert split == halves(33, 7)
    assert split != halves(33, 8)
    with pytest.raises(StudyError, match="8 subsets"):
        halves(7, 0)  # halves of 4 and 3: the interval of the second would fail, once all models are trained


def test_kinds_by_name_and_by_code() -> None:
    named = by_kind(np.array(["training", "generated", "training"]), 3)
    coded = by_kind(np.array([2, 0, 2]), 3)
    assert list(named) == ["generated", "training"]
    assert {k: v.tolist() for k, v in named.items()} == {k: v.tolist() for k, v in coded.items()}
    assert named["training"].tolist() == [0, 2]
    for bad in (np.array(["training", "test", "training"]), np.array([0, 3, 0])):
        with pytest.raises(StudyError, match="unknown query kind"):
            by_kind(bad, 3)
    with pytest.raises(StudyError, match="all 4 queries"):
        by_kind(np.array([0, 0, 0]), 4)


def test_select_reads_the_selection_half_alone() -> None:
    curve = [
        {"damping": 0.1, "selection": 0.2, "reporting": 0.9},
        {"damping": 1.0, "selection": 0.4, "reporting": 0.1},
        {"damping": 10.0, "selection": 0.3, "reporting": 0.8},
    ]
    assert select(curve) == {"position": 1, "damping": 1.0, "at_edge": False}
    assert select(curve[:2])["at_edge"]
    assert not select(curve[:1])["at_edge"]


def test_scores_fitted_to_the_selection_half_get_no_credit() -> None:
    masks, weights, outcomes = study(0, 12.0)
    split, measured = halves(SUBSETS, 0), outcomes.mean(0)
    target = rng(0, "test target").normal(size=measured.shape) * measured.std()
    target[split["selection"]] = measured[split["selection"]]
    fitted = np.linalg.lstsq((~masks).astype(float), target, rcond=None)[0].T  # [Q, N]: predicts `target` exactly
    record, _ = run(np.stack([fitted, weights]), masks, outcomes)
    for kind in ("training", "heldout"):
        entry = record["kinds"][kind]
        assert entry["selected_damping"] == 0.1
        assert entry["sweep"][0]["selection"] == pytest.approx(1.0)
        # The other way round the reporting half sees that the fit knows nothing of it, and takes the weights: reported
        # is half of nothing and half of theirs. Scored where it was chosen, the fit would get 1, in all above 0.5.
        assert entry["other_damping"] == 1.0
        prediction = (~masks).astype(float) @ weights.T
        theirs = correlations(prediction[split["selection"]], measured[split["selection"]])[0, kind == KINDS]
        unseen = entry["lds"] - theirs.mean() / 2
        assert abs(unseen) < 0.15
        assert entry["default"]["lds"] > entry["lds"]


def test_losses_of_the_reporting_half_do_not_move_the_choice() -> None:
    masks, weights, outcomes = study(1, 6.0)
    near = weights + 0.5 * rng(1, "test near").normal(size=weights.shape)
    scores = np.stack([near, weights])
    choice = {kind: entry["selected_damping"] for kind, entry in run(scores, masks, outcomes)[0]["kinds"].items()}
    reporting = halves(SUBSETS, 0)["reporting"]
    for attempt in range(5):
        shuffled = outcomes.copy()
        shuffled[:, reporting] = outcomes[:, rng(attempt, "test shuffle").permutation(reporting)]
        moved, _ = run(scores, masks, shuffled)
        assert {kind: entry["selected_damping"] for kind, entry in moved["kinds"].items()} == choice
        assert moved["kinds"]["training"]["lds"] < 0.7


def test_record_and_arrays_agree_with_the_plain_formulas() -> None:
    masks, weights, outcomes = study(2, 5.0)
    poor = rng(2, "test poor").normal(size=weights.shape)
    record, arrays = run(np.stack([weights, poor]).astype(np.float32), masks, outcomes)
    json.dumps(record, allow_nan=False)
    parts = list(record["halves"].values())
    truth = outcomes.mean(0)
    good = (~masks).astype(float) @ weights.T
    np.testing.assert_allclose(arrays["prediction"], good, atol=1e-4)  # 0.1 wins for both kinds
    for kind in ("heldout", "training"):
        queries = np.flatnonzero(kind == KINDS)
        each = np.mean([correlations(good[half][:, queries], truth[half][:, queries])[0] for half in parts], axis=0)
        entry = record["kinds"][kind]
        np.testing.assert_allclose(arrays["per_query"][queries], each, atol=1e-12)
        assert entry["lds"] == pytest.approx(each.mean())
        assert entry["n"] == {"queries": 10, "subsets": 32}
        assert entry["interval"][0] < entry["lds"] < entry["interval"][1]
        assert entry["selected_damping"] == entry["other_damping"] == 0.1
        assert entry["default"]["damping"] == 1.0
        assert entry["at_edge"]
        for point, found in zip(entry["sweep"], (entry["lds"], entry["default"]["lds"]), strict=True):
            assert (point["selection"] + point["reporting"]) / 2 == pytest.approx(found)
        assert arrays["per_query_default"][queries].mean() == pytest.approx(entry["default"]["lds"])
        for name, found in ((kind, entry), (f"default_{kind}", entry["default"])):
            spread = arrays[f"spread_{name}"]
            assert spread.shape == (1 + 32, 10)
            assert spread[0].mean() == pytest.approx(found["lds"])
            # each half's deviations, at the rows of its subsets, sum to zero; in another order they would not
            np.testing.assert_allclose([spread[1 + np.array(half)].sum(0) for half in parts], 0, atol=1e-12)


def test_methods_without_damping_meet_on_the_same_half() -> None:
    masks, weights, outcomes = study(3, 5.0)
    plain, arrays = evaluate(weights, None, None, masks, outcomes, KINDS, 0, 0.9)
    graded, graded_arrays = run(np.stack([weights, -weights]), masks, outcomes, default=0.1)
    for kind in ("heldout", "training"):
        entry = plain["kinds"][kind]
        assert entry["selected_damping"] is None
        assert entry["default"] is None
        assert entry["sweep"] == []
        assert entry["lds"] == graded["kinds"][kind]["lds"]
        assert entry["interval"] == graded["kinds"][kind]["interval"]
        np.testing.assert_array_equal(arrays[f"spread_{kind}"], graded_arrays[f"spread_{kind}"])
    assert "per_query_default" not in arrays


def test_tiny_dampings_are_told_apart() -> None:
    masks, weights, outcomes = study(4, 5.0)
    scores = np.stack([-weights, weights])
    record, _ = evaluate(scores, np.array([1e-10, 1e-8]), 1e-10, masks, outcomes, KINDS, 0, 0.9)
    # an absolute tolerance takes 1e-10 and 1e-8 for one
    assert record["kinds"]["training"]["default"]["damping"] == 1e-10
    with pytest.raises(StudyError, match="not on the grid"):
        evaluate(scores, np.array([1e-10, 1e-8]), 1e-9, masks, outcomes, KINDS, 0, 0.9)


def test_bad_input_is_refused() -> None:
    masks, weights, outcomes = study(5, 5.0)
    scores = np.stack([weights, weights])
    scores[1, 4, 7] = np.nan
    with pytest.raises(StudyError, match="NaN or infinity for 1 queries, the first is query 4"):
        run(scores, masks, outcomes)
    with pytest.raises(StudyError, match="to fit the dampings"):
        run(weights[None], masks, outcomes)
    with pytest.raises(StudyError, match="without dampings"):
        evaluate(weights, None, 0.1, masks, outcomes, KINDS, 0, 0.9)
    with pytest.raises(StudyError, match="outcomes"):
        evaluate(weights, None, None, masks[:-1], outcomes, KINDS, 0, 0.9)


def test_sweep_lists_every_damping() -> None:
    masks, weights, outcomes = study(6, 0.0)
    truth = outcomes.mean(0)
    curve = sweep(np.stack([truth, -truth]), truth, halves(SUBSETS, 0), [0.5, 2.0])
    assert curve == [
        {"damping": 0.5, "selection": pytest.approx(1.0), "reporting": pytest.approx(1.0)},
        {"damping": 2.0, "selection": pytest.approx(-1.0), "reporting": pytest.approx(-1.0)},
    ]
    assert masks.shape[1] == weights.shape[1]


def test_every_target_is_judged_as_if_alone() -> None:
    masks, weights, outcomes = study(4, 5.0)
    scores = np.stack([weights, weights + rng(4, "test near").normal(size=weights.shape)])
    other = outcomes[:, ::-1]  # the measured values of other subsets
    grid = np.array([0.1, 1.0], np.float32)
    both = evaluate_targets(scores, grid, 1.0, masks, {"loss": outcomes, "elbo": other}, KINDS, 0, 0.9)
    for target, measured in (("loss", outcomes), ("elbo", other)):
        record, arrays = run(scores, masks, measured)
        assert both[target][0] == record
        for name, value in arrays.items():
            np.testing.assert_array_equal(both[target][1][name], value)
    assert both["loss"][0]["kinds"]["training"]["lds"] > both["elbo"][0]["kinds"]["training"]["lds"] + 0.3


def test_least_is_the_smallest_damping_wherever_it_stands() -> None:
    masks, weights, outcomes = study(5, 2.0)
    noise = rng(5, "test noise").normal(size=weights.shape)
    record, arrays = evaluate(np.stack([weights, noise]), np.array([1.0, 0.001]), 1.0, masks, outcomes, KINDS, 0, 0.9)
    for kind, entry in record["kinds"].items():
        assert entry["least"]["damping"] == 0.001
        assert entry["least"]["lds"] == pytest.approx(arrays["per_query_least"][kind == KINDS].mean())
        assert entry["default"] == {"damping": 1.0} | {name: entry[name] for name in ("lds", "interval")}
        assert arrays[f"spread_least_{kind}"][0].mean() < 0.3 < arrays[f"spread_default_{kind}"][0].mean()
    plain, _ = evaluate(weights, None, None, masks, outcomes, KINDS, 0, 0.9)
    assert plain["kinds"]["training"]["least"] is None
