"""Encoded ensembles step by step: nothing of a unit is left in what its ablation keeps."""

import shutil

import numpy as np
import pytest

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.workflow import paths


@pytest.fixture(scope="module")
def ensemble(trained, tmp_path_factory):
    """Pool, code, members and landscape of the smaller ensemble."""
    study = trained.copy(tmp_path_factory.mktemp("ensemble"))
    study.make("results/tiny/ablations/enc12")
    return study


def test_the_pool_begins_with_the_training_set(ensemble):
    pool = ensemble.tensors("pool", "pool")
    train, heldout = (
        load_tensors(ensemble.root / f"results/tiny/data/images/{name}.safetensors") for name in ("train", "heldout")
    )
    np.testing.assert_array_equal(pool["images"][:40], train["images"])
    np.testing.assert_array_equal(pool["index"][40:], heldout["index"][::-1])  # the first held out come last


def test_members_are_trained_on_their_halves_from_streams_of_their_own(ensemble):
    design, meta = (
        load(ensemble.out("encode", cohort="enc12") / "subsets.safetensors") for load in (load_tensors, load_meta)
    )
    saw = design["retained"] == 0
    assert saw.shape == (12, 8)
    for j, rows in enumerate(design["members"]):
        assert set(rows.tolist()) == set(np.flatnonzero(saw[:, j]).tolist())
    assert design["members"].shape[1] == 8  # at least a batch: members of 6 images repeat some
    assert meta["streams"] == [["enc12", j] for j in range(8)]


def test_garbage_in_a_unit_reaches_no_member_that_never_saw_it(ensemble, tmp_path):
    """Trained again with noise in place of image 4: bit for bit the same where it is ablated, and nowhere else."""
    other = ensemble.copy(tmp_path)
    path = other.out("pool") / "pool.safetensors"
    pool = load_tensors(path)
    pool["images"][4] = np.random.default_rng(0).uniform(-1, 1, pool["images"][4].shape)
    save_tensors(path, pool)
    (path.parent / "receipt.json").unlink()  # no job made this file
    for rule in ("train", "ablate"):
        shutil.rmtree(other.out(rule, cohort="enc12"))
        other.run(rule, cohort="enc12")
    design = ensemble.tensors("encode", "subsets", cohort="enc12")
    kept = design["retained"][4] == 1
    one, two = (study.tensors("train", "models", cohort="enc12") for study in (ensemble, other))
    for name in one:
        np.testing.assert_array_equal(one[name][kept], two[name][kept])
    assert all((one["outer.weight"][j] != two["outer.weight"][j]).any() for j in np.flatnonzero(~kept))
    a, b = (study.tensors("ablate", "landscape", cohort="enc12") for study in (ensemble, other))
    np.testing.assert_array_equal(a["counterfactual"][4], b["counterfactual"][4])
    for row in range(12):
        if row != 4:
            assert (a["counterfactual"][row] != b["counterfactual"][row]).any()
    assert (a["factual"] != b["factual"]).any()


def test_a_landscape_has_a_row_for_each_unit_and_null(ensemble):
    land = ensemble.tensors("ablate", "landscape", cohort="enc12")
    shapes = {name: value.shape for name, value in land.items()}
    image = (1, 8, 8)
    assert shapes == {
        "factual": (3, *image),
        "counterfactual": (12, 3, *image),
        "null": (8, 3, *image),
        "products": (3, 8, 8),
        "alone": (8, 10, *image),
        "crowd": (10, *image),
    }
    cost = ensemble.json("ablate", "cost", cohort="enc12")
    assert cost["passes"] == {"exact": 8 + 3 * 12 * 4, "first": 4 * 8 + 3 * 64}
    assert len(np.unique(land["counterfactual"].reshape(12, -1), axis=0)) == 12


def test_sampling_batches_are_memory_only(ensemble, tmp_path):
    other = ensemble.copy(tmp_path, ablation=ensemble.config["ablation"] | {"batch": 1})
    other.run("ablate", cohort="enc12")
    one, two = (study.tensors("ablate", "landscape", cohort="enc12") for study in (ensemble, other))
    for name in ("counterfactual", "null", "alone"):
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-4)


def test_models_without_a_unit(ensemble, tmp_path):
    other = ensemble.copy(tmp_path)
    other.make("results/tiny/ablations/loo12")
    design = other.tensors("leave_out", "subsets", cohort="loo12")
    assert design["members"].shape == (8, 12)  # nobody and 3 units, 2 replicates
    left = design["left_out"].reshape(2, 4)
    assert left[0].tolist() == left[1].tolist()
    assert left[0, 0] == -1
    for unit, rows in zip(design["left_out"], design["members"], strict=True):
        assert unit not in rows
    land = other.tensors("ablate", "landscape", cohort="loo12")
    assert land["counterfactual"].shape == (8, 3, 1, 8, 8)
    assert land["alone"].shape[0] == 2
    assert "factual" not in land


def test_units_may_be_classes(ensemble, tmp_path):
    """Ten units: all images of a digit leave together."""
    settings = ensemble.config["ablation"] | {"unit": "class"}
    other = ensemble.copy(tmp_path, ablation=settings)
    other.run("encode", cohort="enc40")
    design, labels = other.tensors("encode", "subsets", cohort="enc40"), other.tensors("pool", "pool")["labels"][:40]
    assert design["retained"].shape == (10, 8)
    np.testing.assert_array_equal(design["unit"], labels)
    for j, rows in enumerate(design["members"]):
        assert set(labels[rows].tolist()) == set(np.flatnonzero(design["retained"][:, j] == 0).tolist())


def test_scores_and_measures_of_the_study(study):
    """By the definition: the scores' units are images; every reported measure is there for every size."""
    scores = study.tensors("score_ablation", "scores", model="full", method="ablation")["scores"]
    null = study.tensors("score_ablation", "null", model="full", method="ablation")["scores"]
    assert scores.shape == (1, 12, 40)
    assert null.shape == (12, 8)
    record, arrays = study.json("ablation", "ablation"), study.tensors("ablation", "ablation")
    assert record["sizes"].keys() == {"12", "40"}
    land = study.tensors("ablate", "landscape", cohort="enc40")
    moved = np.linalg.norm((land["counterfactual"] - land["factual"]).reshape(40, 3, -1), axis=2) / 2
    np.testing.assert_allclose(arrays["exact"], moved, rtol=1e-5)
    radius = np.exp(np.log(moved.max(0)).mean())
    numbers = study.json("numbers", "numbers")
    assert numbers["ablation.radius.n40"]["value"] == pytest.approx(radius, rel=1e-5)
    assert numbers["ablation.radius.n40"]["receipt"] == study.receipt("ablation")["id"]
    wanted = ("slope.radius", "far.pixel_n12", "search.precision_n40", "null.ks_distance_normal", "retrain.exact")
    assert {f"ablation.{what}" for what in wanted} <= numbers.keys()
    text = (study.out("ablation_report") / "ablation.md").read_text()
    assert len(text.splitlines()) == 4
    assert (study.out("ablation_report") / "radius.png").read_bytes().startswith(b"\x89PNG")


def test_names_of_cohorts(trained):
    assert paths.encoded(trained.config) == ["enc12", "enc40"]
