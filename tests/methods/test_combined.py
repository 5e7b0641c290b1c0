"""Ensembles of methods: ranks are averaged, a stack finds what predicts, neither is judged by what it was fitted to."""

import numpy as np
import pytest

from attribution.errors import StudyError
from attribution.evaluation.evaluate import evaluate_cross_fitted, evaluate_targets
from attribution.evaluation.lds import group_prediction
from attribution.evaluation.selection import halves
from attribution.evaluation.top_k_agreement import between, within
from attribution.methods.combined import ensemble_rank, ensemble_stack, weights

RNG = np.random.default_rng(0)
Q, N, S = 6, 30, 40
MASKS = RNG.random((S, N)) < 0.5
TRUE = RNG.normal(size=(Q, N))
NOISE = RNG.normal(size=(Q, N))


def predictions(scores):
    return np.stack([group_prediction(MASKS, one) for one in scores])


def test_ranks_forget_scales() -> None:
    scores = np.array([[[1.0, 2.0, 300.0]], [[0.3, 0.1, 0.2]]])
    found = ensemble_rank(scores, np.empty((2, 0, 1)), np.empty((0, 1)), {})
    np.testing.assert_allclose(found, [[0.0, -1 / 6, 1 / 6]], atol=1e-12)


def test_a_stack_takes_what_predicts_and_leaves_noise() -> None:
    """Weights 1 and 0, whatever the scales; a method that predicts backwards gets none, not a negative one."""
    scores = np.stack([7 * TRUE, 1000 * NOISE])
    measured = group_prediction(MASKS, TRUE)
    w = weights(predictions(scores), measured)
    np.testing.assert_allclose(w, [1.0, 0.0], atol=1e-6)
    combined = ensemble_stack(scores, predictions(scores), measured, {})
    assert all(np.corrcoef(combined[q], TRUE[q])[0, 1] > 1 - 1e-9 for q in range(Q))
    assert weights(predictions(-scores[:1]), measured).tolist() == [1.0]  # nothing predicts: equal ones


def test_each_fold_is_judged_by_the_other_half() -> None:
    """Layer 0 is right where the reporting half looks, layer 1 where the selection half does: both score 1. Judged by
    the halves that they were fitted to, they score 0.
    """
    kinds = np.array(["generated"] * Q)
    split = halves(S, 0)
    measured = group_prediction(MASKS, TRUE)[None].copy()  # [R, S, Q]
    measured[0, split["selection"]] *= -1  # there the truth is the other way round
    record, arrays = evaluate_cross_fitted(np.stack([TRUE, -TRUE]), MASKS, {"loss": measured}, kinds, 0, 0.95)["loss"]
    assert record["kinds"]["generated"]["lds"] == pytest.approx(1.0)
    assert record["kinds"]["generated"]["n"] == {"queries": Q, "subsets": S}
    assert arrays["spread_generated"].shape == (1 + S, Q)
    swapped = evaluate_cross_fitted(np.stack([-TRUE, TRUE]), MASKS, {"loss": measured}, kinds, 0, 0.95)["loss"]
    assert swapped[0]["kinds"]["generated"]["lds"] == pytest.approx(-1.0)
    with pytest.raises(StudyError, match=r"must be \[2, Q, N\]"):
        evaluate_cross_fitted(TRUE[None], MASKS, {"loss": measured}, kinds, 0, 0.95)


def test_equal_folds_are_judged_as_any_method() -> None:
    """The record and spreads of evaluate.py, so that differences to other methods are paired."""
    kinds = np.array(["generated"] * 3 + ["training"] * 3)
    measured = (group_prediction(MASKS, TRUE) + 3 * RNG.normal(size=(S, Q)))[None]
    ours, arrays = evaluate_cross_fitted(np.stack([TRUE, TRUE]), MASKS, {"loss": measured}, kinds, 0, 0.9)["loss"]
    plain, spread = evaluate_targets(TRUE, None, None, MASKS, {"loss": measured}, kinds, 0, 0.9)["loss"]
    assert ours == plain
    assert arrays.keys() == spread.keys()
    for name, value in spread.items():
        np.testing.assert_allclose(arrays[name], value, rtol=1e-12)


def test_overlap_by_hand_and_by_chance() -> None:
    a, b = np.array([[3.0, 2, 1, 0], [0.0, 1, 2, 3]]), np.array([[3.0, 0, 1, 2], [0.0, 1, 2, 3]])
    assert between(a, b, 2, 0, 50, 0.9)["value"] == 0.75  # 1 of 2, then 2 of 2
    assert within(a, 2, 0, 50, 0.9)["value"] == 0.0
    scores = RNG.normal(size=(2, 40, 200))
    assert between(*scores, 20, 0, 50, 0.9)["value"] == pytest.approx(0.1, abs=0.03)
    assert within(scores[0], 20, 0, 50, 0.9)["value"] == pytest.approx(0.1, abs=0.03)
    assert within(a, 2, 0, 50, 0.9)["n"] == {"queries": 2, "examples": 4}
