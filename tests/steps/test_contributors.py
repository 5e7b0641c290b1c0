"""Contributors step by step: from coalitions to values that are judged by models trained anew."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from attribution.core.store import load_json, load_meta, load_tensors


@pytest.fixture(scope="module")
def credited(trained, tmp_path_factory):
    """All that the contributors of the tiny study need, and what they are worth."""
    study = trained.copy(tmp_path_factory.mktemp("credited"))
    study.make("results/tiny/contributors/all")
    return study


def test_models_of_a_coalition_are_trained_on_its_examples_alone(credited):
    for cohort, count in (("sft0_000_019", 20), ("half0_000_007", 8)):
        design = credited.tensors("coalitions", "subsets", cohort=cohort)
        assert design["members"].shape == (count, 8 * 40)
        for rows, coalition in zip(design["members"], design["coalition"].astype(bool), strict=True):
            assert set(rows.tolist()) == set(np.flatnonzero(coalition[design["owner"]]).tolist())


def test_the_pruned_model_and_all_fine_tuned_from_it_have_the_same_zeros(credited):
    sparse = credited.tensors("sparsify", "models")
    masks = credited.tensors("sparsify", "masks")
    tuned = credited.tensors("finetune", "models", cohort="sft0_020_034")
    assert load_meta(credited.out("sparsify") / "models.safetensors")["names"] == ["sparse", "untrained"]
    for name, kept in masks.items():
        assert (sparse[name][0][~kept] == 0).all()
        assert (tuned[name][:, ~kept] == 0).all()
    assert len(tuned["outer.weight"]) == 15  # of 1 + 2 x 10 + 8 + 6 coalitions, in cohorts of 20


def test_values_are_efficient_and_every_predictor_is_judged(credited):
    record = credited.json("contributors", "contributors")
    whole = credited.tensors("properties", "properties", cohort="sft0_000_019")
    empty = credited.tensors("properties", "properties", cohort="sparse")
    for name, values in record["shapley"].items():
        assert len(values) == 10
        total = sum(entry["value"] for entry in values)
        assert total == pytest.approx(whole[name][0] - empty[name][1])
    assert set(record["lds"]) == {"loss", "quality", "diversity", "query"}
    own = {"finetuned", "shapley", "shapley_plain", "leave_one_out", "alone", "examples"}
    assert set(record["lds"]["loss"]) == own | {"random", "trak"}
    assert record["lds"]["query"]["shapley"]["n"] == {"coalitions": 8, "properties": 3}
    assert record["steps"] == pytest.approx(4 / 30)


def test_the_values_are_held_against_all_else_that_is_judged(credited):
    record = credited.json("contributors", "contributors")
    for name, judged in record["lds"].items():
        of = record["lds_difference"][name]
        assert set(of) == {f"shapley_{other}" for other, entry in judged.items() if entry} - {"shapley_shapley"}
        for pair, entry in of.items():
            other = judged[pair.removeprefix("shapley_")]
            assert entry["value"] == judged["shapley"]["value"] - other["value"]
            assert entry["n"] == other["n"]
            assert entry["interval"][0] <= entry["interval"][1]


def test_scores_are_summed_over_a_contributors_examples(credited):
    """The LDS of a random method, by hand, for the loss of the queries."""
    design = credited.tensors("coalitions", "subsets", cohort="half0_000_007")
    scores = load_tensors(credited.root / "results/tiny/scores/full/random/scores.safetensors")["scores"][0]
    truth = credited.tensors("properties", "properties", cohort="half0_000_007")["query"]
    inside = design["coalition"].astype(bool)[:, design["owner"]]
    prediction = inside @ scores[:3].T.astype(float)  # the generated queries come first
    pairs = [(prediction[:, q], truth[:, q]) for q in range(3)]
    by_hand = np.mean([(9 * spearmanr(*pair).statistic - 3 * kendalltau(*pair).statistic) / 6 for pair in pairs])
    record = load_json(credited.out("contributors") / "contributors.json")
    assert record["lds"]["query"]["random"]["value"] == pytest.approx(by_hand)
