"""Ceiling and control: known reliabilities come back, impossible ones are handled."""

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.evaluation.ceiling import (
    attainable,
    equivalent_replicates,
    evaluate_ceiling,
    evaluate_control,
    reliability,
    spearman_brown,
)
from attribution.evaluation.lds import spearman


def measured(seed: int, name: str, truth: np.ndarray, replicates: int, share: float | np.ndarray) -> np.ndarray:
    """Replicates [R, S, Q] of `truth` (variance 1) with the (Pearson) reliability `share` each."""
    noise = rng(seed, "test noise", name).normal(size=(replicates, *truth.shape))
    return truth + np.sqrt(1 / share - 1) * noise


def truth(seed: int, subsets: int, queries: int) -> np.ndarray:
    return rng(seed, "test truth").normal(size=(subsets, queries))


def rank(pearson: float) -> float:
    return 6 / np.pi * np.arcsin(pearson / 2)  # Spearman of a bivariate normal


def test_spearman_brown_closed_forms() -> None:
    assert spearman_brown(0.5, 1) == 0.5
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert attainable(0.5, 2) == pytest.approx(np.sqrt(2 / 3))
    assert attainable(-0.2, 2) == 0.0
    assert attainable(1.0, 3) == 1.0


@pytest.mark.parametrize(("reliability", "replicates"), [(0.2, 3.0), (0.5, 7.5), (0.9, 0.4)])
def test_equivalent_replicates_inverts_spearman_brown(reliability: float, replicates: float) -> None:
    assert equivalent_replicates(spearman_brown(reliability, replicates), reliability) == pytest.approx(replicates)


def test_equivalent_replicates_where_no_number_fits() -> None:
    assert equivalent_replicates(0.5, 0.0) == np.inf
    assert equivalent_replicates(0.5, -0.1) == np.inf
    assert equivalent_replicates(-0.1, 0.5) == 0.0
    assert equivalent_replicates(-0.1, -0.2) == 0.0
    assert equivalent_replicates(1.0, 0.5) == np.inf


def test_ceiling_is_what_the_truth_itself_would_score() -> None:
    signal = truth(0, 600, 20)
    outcomes = measured(0, "crn", signal, 2, 0.6)
    agreement = reliability([(outcomes[0], outcomes[1])], [list(range(600))])[0].mean()
    assert agreement == pytest.approx(rank(0.6), abs=0.02)  # 20 queries x 600 subsets: deviation 0.007
    achieved = spearman(signal, outcomes.mean(0), axis=0).mean()
    # without Spearman-Brown the ceiling reads 0.76, without the root 0.74 where 0.86 is achieved
    assert attainable(agreement, 2) == pytest.approx(achieved, abs=0.02)


def test_record_has_the_known_reliability_inside_its_interval() -> None:
    kinds = np.array(["generated"] * 15 + ["training"] * 15)
    signal = truth(1, 120, 30)
    outcomes = np.concatenate(
        [measured(1, "low", signal[:, :15], 3, 0.3), measured(1, "high", signal[:, 15:], 3, 0.8)], axis=2
    )
    record = evaluate_ceiling(outcomes, kinds, 0, 0.95)
    assert list(record["kinds"]) == ["generated", "training"]
    assert record["replicates"] == 3
    for kind, known in (("generated", 0.3), ("training", 0.8)):
        entry = record["kinds"][kind]
        assert entry["n"] == {"queries": 15, "subsets": 120}
        assert entry["reliability"] == pytest.approx(rank(known), abs=0.1)
        assert entry["interval"][0] < float(attainable(rank(known), 3)) < entry["interval"][1]
        assert entry["interval"][0] <= entry["ceiling"] <= entry["interval"][1]


def test_ceiling_of_pure_noise_is_low() -> None:
    # rooting (and clipping) each query's own correlation as it is gives 0.15 to 0.25 here
    noise = rng(2, "test noise").normal(size=(2, 60, 100))
    entry = evaluate_ceiling(noise, np.ones(100, dtype=int), 0, 0.95)["kinds"]["heldout"]
    assert entry["ceiling"] < 0.25
    assert abs(entry["reliability"]) < 3 / np.sqrt(29 * 100)
    assert entry["interval"][1] > 0.05


def test_ceiling_is_the_mean_of_each_querys_own() -> None:
    """Reliabilities from .1 to .9, two replicates: .770 over many queries; the root of the mean reliability gives .81.

    Of 100, 93% of the intervals or more hold it (deviation 2%).
    """
    every = np.linspace(0.1, 0.9, 1001)
    known = rank(np.sqrt(2 * every / (1 + every))).mean()
    found, rooted, held = [], [], []
    for trial in range(100):
        share = rng(trial, "test shares").uniform(0.1, 0.9, size=40)
        outcomes = measured(trial, "own", truth(trial, 48, 40), 2, share)
        entry = evaluate_ceiling(outcomes, np.ones(40, dtype=int), trial, 0.95)["kinds"]["heldout"]
        found.append(entry["ceiling"])
        rooted.append(float(attainable(entry["reliability"], 2)))
        held.append(entry["interval"][0] <= known <= entry["interval"][1])
    assert np.mean(found) == pytest.approx(known, abs=0.015)
    assert np.mean(rooted) > known + 0.03
    assert np.mean(held) >= 0.93


def test_one_replicate_has_no_ceiling() -> None:
    with pytest.raises(StudyError, match=r"design\.replicates"):
        evaluate_ceiling(truth(3, 8, 2)[None], np.zeros(2, dtype=int), 0, 0.95)


@pytest.mark.parametrize("independent", [1, 2])
def test_control_recovers_both_reliabilities(independent: int) -> None:
    signal = truth(4, 300, 20)
    crn, own = measured(4, "crn", signal, 2, 0.8), measured(4, "own", signal, independent, 0.4)
    entry = evaluate_control(crn, own, np.zeros(20, dtype=int), 0, 100, 0.95)["kinds"]["generated"]
    assert entry["n"] == {"queries": 20, "subsets": 300}
    assert entry["crn"]["value"] == pytest.approx(rank(0.8), abs=0.03)
    # one independent replicate: corr(crn, own) itself would read 0.55
    assert entry["own"]["value"] == pytest.approx(rank(0.4), abs=0.04)
    worth = float(equivalent_replicates(rank(0.8), rank(0.4)))  # 5.9
    low, high = entry["equivalent_replicates"]["interval"]
    assert low < worth < high
    assert entry["equivalent_replicates"]["value"] == pytest.approx(worth, rel=0.2)


def test_control_of_pure_noise_says_that_no_number_suffices() -> None:
    signal = truth(5, 16, 6)
    crn = measured(5, "crn", signal, 2, 0.9)
    own = rng(10, "test own").normal(size=(2, 16, 6))
    entry = evaluate_control(crn, own, np.zeros(6, dtype=int), 0, 200, 0.95)["kinds"]["generated"]
    assert entry["own"]["interval"][0] < 0
    assert entry["equivalent_replicates"]["interval"][1] is None
    own[1] = -own[0]
    assert evaluate_control(crn, own, np.zeros(6, dtype=int), 0, 50, 0.95)["kinds"]["generated"][
        "equivalent_replicates"
    ] == {"value": None, "interval": [None, None]}


def test_control_needs_the_same_subsets() -> None:
    with pytest.raises(StudyError, match="same subsets"):
        evaluate_control(truth(6, 8, 2)[None], truth(6, 6, 2)[None], np.zeros(2, dtype=int), 0, 10, 0.95)
