"""Counterfactual retraining through its steps: the same seed gives the same images, what leaves is what was named."""

import numpy as np
import pytest

from attribution.core.store import load_tensors
from attribution.reporting.numbers import of_file

BASE = "leave0_random"


def made(study, cohort):
    return study.tensors("leave_k_out", "subsets", cohort=cohort), study.tensors(
        "regenerate", "regenerated", cohort=cohort
    )


def test_nothing_removed_gives_the_queries_back(study) -> None:
    """Replicate 0 has the seed of the full model; another seed changes every image."""
    design, found = made(study, BASE)
    queries = load_tensors(study.root / "results/tiny/queries/all/queries.safetensors")["images"][:3]
    assert design["members"].shape == (3, 40)
    np.testing.assert_allclose(found["images"][0], queries, atol=1e-4)
    assert (np.abs(found["images"][1] - queries).max((1, 2, 3)) > 1e-3).all()


def test_a_query_lacks_its_own_top(study) -> None:
    design, found = made(study, "leave6_random")
    scores = load_tensors(study.root / "results/tiny/scores/full/random/scores.safetensors")["scores"][0]
    assert design["query"].tolist() == [0, 1, 0, 1]
    assert design["replicate"].tolist() == [0, 0, 1, 1]
    for members, query in zip(design["members"], design["query"], strict=True):
        left = np.setdiff1d(np.arange(40), members)
        assert sorted(left.tolist()) == sorted(np.argsort(-scores[query], kind="stable")[:6].tolist())
    assert found["images"].shape == (4, 3, 1, 8, 8)
    assert found["loss"].shape == (4, 3)


def test_the_control_has_the_size_of_the_union(study) -> None:
    design, _ = made(study, "joint4_trak")
    assert design["control"].tolist() == [False, False, True, True]
    kept = [set(members.tolist()) for members in design["members"]]
    assert kept[0] == kept[1]
    assert len(kept[2]) == len(kept[0]) >= 40 - 8
    assert kept[2] != kept[3]
    assert kept[2] != kept[0]


def test_records_and_numbers(study) -> None:
    record = study.json("counterfactual", "counterfactual")
    assert set(record["leave_k_out"]) == set(record["joint"]) == {"random", "trak"}
    assert record["leave_k_out"]["random"]["ssim"]["auc"]["value"] == 0.5
    assert record["leave_k_out"]["random"]["loss"]["over_control"]["value"] == 0.0
    assert record["joint"]["trak"]["targets"]["ssim"]["n"] == {"targets": 2, "models": 2}
    assert record["joint"]["trak"]["collateral"]["ssim"]["n"] == {"targets": 1, "models": 2}
    assert 4 <= record["joint"]["trak"]["removed"] <= 8
    difference, each = record["leave_k_out_difference"]["trak_random"]["ssim"], record["leave_k_out"]
    effects = [each[method]["ssim"]["effect"]["value"] for method in ("trak", "random")]
    assert difference["value"] == pytest.approx(effects[0] - effects[1])
    assert record["joint_difference"]["trak_random"]["ssim"]["n"] == {"targets": 2, "models": 2}
    assert record["noise_floor"]["pixel_l2"]["value"] > 0
    found = of_file(record, "counterfactual.json", "receipt")
    assert found["leave_k_out.trak.pixel_l2"]["value"] == pytest.approx(
        record["leave_k_out"]["trak"]["pixel_l2"]["effect"]["value"]
    )
    numbers = study.json("numbers", "numbers")
    assert set(found) <= set(numbers)
    assert numbers["mucs.prefilter.recall.trak_12_1"]["value"] <= 1
