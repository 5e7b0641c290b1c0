"""Linear datamodeling score: additive truth, equivalent forms, ties, refusals."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.lds import check_pair, group_prediction, mean_outcome, spearman

SUBSETS, EXAMPLES, QUERIES = 40, 60, 12


def half_masks(subsets: int, examples: int, seed: int) -> np.ndarray:
    masks = np.zeros((subsets, examples), dtype=bool)
    for s, row in enumerate(masks):
        row[rng(seed, "test subset", s).choice(examples, examples // 2, replace=False)] = True
    return masks


def additive(seed: int, replicates: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks [S, N], weights [Q, N] and outcomes [R, S, Q] = sum of the weights left out, plus noise."""
    stream = rng(seed, "test additive")
    masks = half_masks(SUBSETS, EXAMPLES, seed)
    weights = stream.normal(size=(QUERIES, EXAMPLES))
    truth = np.stack([[weights[q][~mask].sum() for q in range(QUERIES)] for mask in masks])
    return masks, weights, truth + noise * stream.normal(size=(replicates, SUBSETS, QUERIES))


def lds(masks: np.ndarray, outcomes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The whole chain: masks [S, N], outcomes [R, S, Q], scores [Q, N] -> score of each query, [Q]."""
    prediction, measured = group_prediction(masks, scores), mean_outcome(outcomes)
    check_pair(prediction, measured)
    return spearman(prediction, measured, axis=0)


@pytest.mark.parametrize("levels", [None, 3, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_spearman_equals_scipy_with_and_without_ties(levels: int | None, axis: int) -> None:
    stream = rng(0, "test ties")
    a, b = stream.normal(size=(2, 25, 25))
    if levels:
        a, b = np.round(a * levels / 3), np.round(b * levels / 3)
    expected = [
        spearmanr(x, y).statistic for x, y in zip(np.moveaxis(a, axis, 1), np.moveaxis(b, axis, 1), strict=True)
    ]
    # ordinal instead of average ranks are off by up to 0.3 at 3 levels
    np.testing.assert_allclose(spearman(a, b, axis), expected, atol=1e-12)


def test_spearman_of_a_constant_is_undefined() -> None:
    assert np.isnan(spearman(np.ones(5), np.arange(5.0), 0))


def test_additive_truth_scores_one_its_negative_minus_one() -> None:
    masks, weights, outcomes = additive(1, 1, 0.0)
    # the wrong sign convention (sum over kept) scores -1 and +1
    np.testing.assert_allclose(lds(masks, outcomes, weights), 1.0, atol=1e-12)
    np.testing.assert_allclose(lds(masks, outcomes, -weights), -1.0, atol=1e-12)


def test_random_scores_are_near_zero() -> None:
    trials = 40
    means = np.empty(trials)
    for trial in range(trials):
        masks, _, outcomes = additive(trial, 1, 0.0)
        scores = rng(trial, "test random").normal(size=(QUERIES, EXAMPLES))
        means[trial] = lds(masks, outcomes, scores).mean()
    # weights are drawn for each query on its own, so all 12 are effective; absolute values would average 0.13
    bound = 2 / np.sqrt(SUBSETS - 1) / np.sqrt(QUERIES)
    assert abs(means.mean()) < bound / np.sqrt(trials)
    assert (np.abs(means) < bound).mean() > 0.85  # 0.95 expected


def test_sum_over_removed_equals_minus_sum_over_kept_at_fixed_size() -> None:
    masks, weights, outcomes = additive(3, 2, 3.0)
    kept = -(masks.astype(float) @ weights.T)
    measured = mean_outcome(outcomes)
    score = spearman(group_prediction(masks, weights), measured, axis=0)
    assert 0.3 < score.mean() < 0.95  # noise makes it informative: at 1 both forms would agree trivially
    np.testing.assert_allclose(spearman(kept, measured, axis=0), score, atol=1e-12)


def test_sizes_that_differ_break_the_equivalence() -> None:
    masks = rng(4, "test sizes").random((SUBSETS, EXAMPLES)) < rng(4, "test fraction").random((SUBSETS, 1))
    weights = 1 + rng(4, "test weights").random((QUERIES, EXAMPLES))
    removed = group_prediction(masks, weights)
    brute = np.array([[weights[q, ~masks[s]].sum() for q in range(QUERIES)] for s in range(SUBSETS)])
    np.testing.assert_allclose(removed, brute, rtol=1e-12)


def test_outcomes_are_averaged_before_ranking() -> None:
    masks, weights, outcomes = additive(5, 16, 12.0)
    together = lds(masks, outcomes, weights).mean()
    apart = np.mean([lds(masks, outcomes[r : r + 1], weights).mean() for r in range(16)])
    assert together > apart + 0.2  # averaging the sixteen correlations instead scores `apart`


def test_scores_in_float32_are_summed_in_float64() -> None:
    masks = half_masks(SUBSETS, 5000, 6)
    scores = (1e4 + rng(6, "test scores").normal(size=(1, 5000))).astype(np.float32)
    exact = (~masks).astype(np.float64) @ scores.astype(np.float64).T
    # float32 sums of 2,500 values near 1e4 err by about 1, the spread between subsets is about 50
    np.testing.assert_allclose(group_prediction(masks, scores), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_scores_are_refused(bad: float) -> None:
    masks, weights, outcomes = additive(7, 1, 0.0)
    weights[3, 5] = bad
    with pytest.raises(StudyError, match="first is query 3"):
        lds(masks, outcomes, weights)


def test_broken_outcomes_are_refused() -> None:
    masks, weights, outcomes = additive(7, 2, 0.0)
    outcomes[1, 4, 2] = np.nan
    with pytest.raises(StudyError, match="query 2 on subset 4, replicate 1"):
        lds(masks, outcomes, weights)


def test_constant_prediction_and_constant_loss_are_named() -> None:
    masks, weights, outcomes = additive(8, 1, 0.0)
    same = weights.copy()
    same[6] = 0.0
    with pytest.raises(StudyError, match="the prediction of query 6"):
        lds(masks, outcomes, same)
    outcomes[:, :, 9] = 0.25
    with pytest.raises(StudyError, match="the measured loss of query 9"):
        lds(masks, outcomes, weights)


def test_shapes_that_disagree_are_refused() -> None:
    masks, weights, outcomes = additive(9, 1, 0.0)
    with pytest.raises(StudyError, match="to fit the masks"):
        lds(masks, outcomes, weights[:, :-1])
    with pytest.raises(StudyError, match="masks must be bool"):
        lds(masks.astype(float), outcomes, weights)
    with pytest.raises(StudyError, match="must be"):
        lds(masks, outcomes[:, :-1], weights)
    with pytest.raises(StudyError, match="R, S, Q"):
        lds(masks, outcomes[0], weights)
