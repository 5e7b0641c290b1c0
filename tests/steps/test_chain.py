"""Every step of a study in a chain: what each writes, that the parts fit, and that receipts link them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from attribution.core.store import load_tensors
from attribution.curvature.blocks import layers
from attribution.design.subsets import subset
from attribution.diffusion.denoisers import build
from attribution.provenance import receipt
from attribution.workflow import config as configs
from attribution.workflow import paths

N, Q = 40, 12
ROOT = Path(__file__).parents[2]
SETTINGS = configs.load(ROOT / "config/smoke.yaml", ROOT / "workflow/schemas/study.schema.yaml")["methods"]
METHODS = tuple(SETTINGS)
GRIDS = {method: SETTINGS[SETTINGS[method].get("of", method)].get("dampings") for method in METHODS}


def scores(study, method):
    rule, wildcards = study.producer(f"results/tiny/scores/full/{method}")
    return study.tensors(rule, "scores", **wildcards)


def of_loss(study, rule, images, **wildcards):
    """Gradients of the loss of all parts together."""
    parts = [
        study.tensors(rule, "gradients", model="full", set=images, quantity="loss", part=part, **wildcards)
        for part in (paths.parts(study.config) if images == "train" else ["all"])
    ]
    return {block: np.concatenate([part[block] for part in parts]) for block in parts[0]}


def gram_of_loss(study):
    names = {"model": "full", "measurement": "loss", "feature": "loss", "projection": "none"}
    return study.tensors("gram", "gram", **names)


def test_every_rule_but_the_download_is_run(study):
    assert {rule for rule, _ in study.jobs} == study.rules.keys() - {"dataset", "image_folder", "latents"}


def test_receipts_link_the_chain(study):
    """Each input's receipt is that of the folder it lies in, each id that of its contents, each output as hashed."""
    ids = {}
    for rule, wildcards in study.jobs:
        folder = study.out(rule, **wildcards)
        written = receipt.read(folder)
        assert written["step"] == rule
        code = written["code"]["hash"]
        assert written["id"] == receipt.identity(rule, written["spec"], code, "0", written["inputs"])
        ids[folder.relative_to(study.root).as_posix()] = written["id"]
        listed = {study.root / output["path"]: output["sha256"] for output in written["outputs"]}
        assert {path.name for path in listed} == {path.name for path in folder.iterdir()} - {"receipt.json"}
        for path, digest in listed.items():
            assert receipt.sha256(path) == digest
    assert len(set(ids.values())) == len(study.jobs)
    unlinked = set()
    for rule, wildcards in study.jobs:
        for used in study.receipt(rule, **wildcards)["inputs"]:
            folder = used["path"].rpartition("/")[0]
            if folder in ids:
                assert used["receipt"] == ids[folder]
            else:
                unlinked.add(folder)
                assert used["receipt"] is None
    of_the_tree = {"config", "results/published/benchmarks"}  # what git keeps, no job's
    assert unlinked == {"results/tiny/data/images", *of_the_tree}  # the images are written here by hand


def test_receipts_name_where_and_how(study):
    for rule, wildcards in study.jobs:
        environment = study.receipt(rule, **wildcards)["environment"]
        assert environment["lock"]["hash"] == "0"
        assert {"torch", "numpy", "safetensors"} <= environment["packages"].keys()
    trained = study.receipt("train", cohort="full")["environment"]
    assert trained["device"].startswith(("cpu (", "cuda ("))
    assert trained["deterministic"]["tf32"] is False


def test_design(study):
    """The same subsets in every replicate and in the control; streams shared or not."""
    for cohort in paths.cohorts(study.config):
        found, meta = study.tensors("design", "subsets", cohort=cohort), study.meta("design", "subsets", cohort=cohort)
        if cohort == "full":
            assert found["members"].tolist() == [list(range(N))]
            assert meta == {"names": ["full"], "streams": [["crn", 0]], "replicate": 0}
            continue
        parsed = paths.parse(cohort)
        assert found["number"].tolist() == list(parsed.subsets)
        assert found["members"].tolist() == [subset(0, number, N, 0.5).tolist() for number in parsed.subsets]
        assert found["members"].dtype == found["number"].dtype == np.int64
        assert meta["replicate"] == parsed.replicate
        assert len(set(meta["names"])) == 4
        if parsed.stream == "crn":
            assert meta["streams"] == [["crn", parsed.replicate]] * 4
        else:
            assert meta["streams"] == [["own", parsed.replicate, number] for number in parsed.subsets]


def test_models(study):
    model = build(study.config["denoiser"], (1, 8, 8))
    names = {name: tuple(value.shape) for name, value in model.named_parameters()}
    for cohort in paths.cohorts(study.config):
        found = study.tensors("train", "models", cohort=cohort)
        count = 1 if cohort == "full" else 4
        assert {name: value.shape for name, value in found.items()} == {n: (count, *s) for n, s in names.items()}
        assert study.meta("train", "models", cohort=cohort) == {
            "names": study.meta("design", "subsets", cohort=cohort)["names"]
        }
        log = [json.loads(line) for line in (study.out("train", cohort=cohort) / "log.jsonl").open()]
        assert [record["step"] for record in log] == [10, 20, 30]
    replicates = [study.tensors("train", "models", cohort=f"{name}_000_003") for name in ("crn0", "crn1", "own0")]
    for one, two in ((0, 1), (0, 2), (1, 2)):  # other seeds, other models
        assert not np.isclose(replicates[one]["outer.weight"], replicates[two]["outer.weight"], rtol=1e-3).all()


def test_how_models_are_cut_into_cohorts_changes_nothing(study, tmp_path):
    """Two models of a job are two of another job's four, up to float32 rounding over 30 steps."""
    other = study.copy(tmp_path)
    for cohort in ("crn0_002_003", "own1_001_002"):
        other.run("design", cohort=cohort)
        other.run("train", cohort=cohort)
    for cohort, of, rows in (("crn0_002_003", "crn0_000_003", [2, 3]), ("own1_001_002", "own1_000_003", [1, 2])):
        part, whole = (other.tensors("train", "models", cohort=name) for name in (cohort, of))
        for name in whole:
            np.testing.assert_allclose(part[name], whole[name][rows], rtol=1e-4, atol=1e-5)
            assert np.abs(whole[name][rows] - whole[name][[0, 3]]).max() > 1e-3


def test_queries(study):
    found, meta = study.tensors("queries", "queries"), study.meta("queries", "queries")
    train, heldout = (
        load_tensors(study.root / f"results/tiny/data/images/{n}.safetensors") for n in ("train", "heldout")
    )
    assert found["images"].shape == (Q, 1, 8, 8)
    assert meta["kinds"] == ["generated", "heldout", "training"]
    assert found["kind"].tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert np.abs(found["images"]).max() <= 1
    np.testing.assert_array_equal(found["images"][3:7], heldout["images"][:4])
    rows = found["index"][7:]
    assert len(set(rows.tolist())) == 5
    np.testing.assert_array_equal(found["images"][7:], train["images"][rows])
    assert meta["names"][:3] == ["generated/0", "generated/1", "generated/2"]
    assert meta["names"][3:] == [f"example/{row}" for row in (*heldout["index"][:4], *train["index"][rows])]
    assert len(set(meta["names"])) == Q


def test_losses(study):
    """A loss of an untrained model is about 1: the noise has variance 1. Trained ones are below, and none are alike."""
    for cohort in paths.cohorts(study.config)[1:]:
        loss = study.tensors("measure", "losses", cohort=cohort)["loss"]
        assert loss.shape == (4, Q)
        assert loss.dtype == np.float64
        assert 0 < loss.min() < loss.max() < 2
        assert len(np.unique(loss)) == loss.size
    crn, own = (study.tensors("measure", "losses", cohort=f"{name}_000_003")["loss"] for name in ("crn0", "own0"))
    assert crn.std(0).mean() < own.std(0).mean()  # common random numbers take out the spread of seeds


def test_gram_is_of_the_gradients(study):
    train, queries = (of_loss(study, "gradients", images) for images in ("train", "queries"))
    model = layers(build(study.config["denoiser"], (1, 8, 8)))
    assert {name: value.shape for name, value in train.items()} == {
        name: (N, layer.out_features, layer.in_features + 1) for name, layer in model.items()
    }
    g, q = (np.concatenate([v[k].reshape(len(v[k]), -1) for k in v], 1).astype(np.float64) for v in (train, queries))
    gram = gram_of_loss(study)
    for name, expected in {
        "query_train": q @ g.T,
        "train_train": g @ g.T,
        "query_norm": (q**2).sum(1),
        "train_norm": (g**2).sum(1),
    }.items():
        np.testing.assert_allclose(gram[name], expected, rtol=1e-9, atol=1e-12)


def test_rotation_keeps_inner_products(study):
    train, queries = (of_loss(study, "rotate", images, curvature="model") for images in ("train", "queries"))
    turned = sum(np.einsum("qoj,noj->qn", queries[k].astype(np.float64), train[k]) for k in train)
    expected = gram_of_loss(study)["query_train"]
    assert np.abs(turned - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("method", METHODS)
def test_scores(study, method):
    found = scores(study, method)
    dampings = GRIDS[method]
    halves = 2 if method == "ensemble_stack" else 1  # one layer learned from each half of the retrained models
    assert found["scores"].shape == (len(dampings) if dampings else halves, Q, N)
    assert found["scores"].dtype == np.float32
    assert np.isfinite(found["scores"]).all()
    if dampings:
        assert found["dampings"].tolist() == dampings
        if method != "relative_if":  # whose denominator shrinks too
            assert np.abs(found["scores"][0]).mean() > np.abs(found["scores"][-1]).mean()  # damping shrinks
    else:
        assert found.keys() == ({"scores"} if halves == 1 else {"scores", "folds"})
    assert len({layer.tobytes() for layer in found["scores"]}) == len(found["scores"])


@pytest.mark.parametrize("method", ["pixel_cosine", "pixel_l2"])
def test_training_queries_find_themselves(study, method):
    rows = study.tensors("queries", "queries")["index"][7:]
    assert scores(study, method)["scores"][0, 7:].argmax(1).tolist() == rows.tolist()


def test_all_draws_of_the_sweep_are_the_study(study):
    """The sweep ends at gradients.draws, on the same keyed draws: there its scores are those of the methods."""
    swept = study.tensors("sweep_draws", "scores")
    assert swept["draws"].tolist() == [2, 6]
    for method in ("gradient_dot", "trak", "ekfac"):
        settings = study.config["methods"][method]
        layer = settings["dampings"].index(settings["damping"]) if "damping" in settings else 0
        expected = scores(study, method)["scores"][layer]
        first, last = swept[method]
        # float32 gradients summed in another order. Two draws in place of six are off by order 1.
        assert np.abs(last - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.abs(first - expected).max() > 1e-2 * np.abs(expected).max()


def test_evaluation(study):
    for method in METHODS:
        record = study.json("lds", "lds", method=method)["kinds"]
        arrays = study.tensors("lds", "lds", method=method)
        assert record.keys() == {"generated", "heldout", "training"}
        assert arrays["prediction"].shape == (8, Q)
        for entry in record.values():
            assert -1 <= entry["interval"][0] <= entry["interval"][1] <= 1
            assert (entry["selected_damping"] is not None) == (GRIDS[method] is not None)
    swept = study.json("lds_draws", "lds")
    assert [(entry["method"], entry["draws"]) for entry in swept] == [
        (method, draws) for method in ("ekfac", "gradient_dot", "trak") for draws in (2, 6)
    ]
    plain = {entry["method"]: entry["kinds"] for entry in swept if entry["draws"] == 6}
    dot = study.json("lds", "lds", method="gradient_dot")["kinds"]
    for kind, entry in dot.items():
        assert plain["gradient_dot"][kind]["lds"] == pytest.approx(entry["lds"], abs=1e-6)
    ceiling = study.json("ceiling", "ceiling")
    assert ceiling["ceiling"]["kinds"].keys() == ceiling["control"]["kinds"].keys() == dot.keys()


def test_predictions_are_sums_of_scores(study):
    """Who is in lowers the loss: a subset's prediction is minus the sum of its members' scores, up to a constant."""
    layer = scores(study, "pixel_l2")["scores"][0].astype(np.float64)
    members = np.concatenate(
        [study.tensors("design", "subsets", cohort=f"crn0_00{a}_00{a + 3}")["members"] for a in (0, 4)]
    )
    sums = np.stack([layer[:, rows].sum(1) for rows in members])  # [S, Q]
    prediction = study.tensors("lds", "lds", method="pixel_l2")["prediction"]
    for q in range(Q):
        assert np.corrcoef(sums[:, q], prediction[:, q])[0, 1] == pytest.approx(-1, abs=1e-9)


def test_removal_takes_the_top_of_each_query(study):
    """Two queries of each kind, two replicates: what is gone is what scores highest at the kind's damping."""
    design = study.tensors("remove", "subsets", cohort="without25_trak")
    assert design["members"].shape == (12, N - 10)
    assert design["query"].tolist() == [0, 1, 3, 4, 7, 8] * 2
    streams = study.meta("remove", "subsets", cohort="without25_trak")["streams"]
    assert streams == [["crn", 0]] * 6 + [["crn", 1]] * 6
    found, record = scores(study, "trak"), study.json("lds", "lds", method="trak")["kinds"]
    for members, q in zip(design["members"], design["query"].tolist(), strict=True):
        kind = ("generated", "heldout", "training")[(q > 2) + (q > 6)]
        row = found["scores"][found["dampings"].tolist().index(record[kind]["selected_damping"]), q]
        gone = np.setdiff1d(np.arange(N), members)
        assert row[gone].min() >= row[members].max()


def test_removal_compares_with_all_examples_and_with_random(study):
    full = study.tensors("measure", "losses", cohort="without0_random")["loss"]  # [R, Q]
    record = study.json("removal", "removal")["percents"]
    assert record.keys() == {"10", "25"}
    increases = {}
    for method in ("random", "trak"):
        loss = study.tensors("measure", "losses", cohort=f"without25_{method}")["loss"].reshape(2, 6, Q)
        queries = [0, 1, 3, 4, 7, 8]
        increases[method] = np.mean([[loss[r, i, q] - full[r, q] for i, q in enumerate(queries)] for r in (0, 1)], 0)
        assert record["25"]["all"][method]["value"] == pytest.approx(increases[method].mean(), rel=1e-12)
        assert record["25"]["heldout"][method]["value"] == pytest.approx(increases[method][2:4].mean(), rel=1e-12)
    gain = record["25"]["all"]["trak"]["over_control"]
    assert gain["value"] == pytest.approx((increases["trak"] - increases["random"]).mean(), rel=1e-9)
    assert gain["interval"][0] <= gain["value"] <= gain["interval"][1]
    assert record["25"]["all"]["random"]["over_control"] is None
    number = study.json("numbers", "numbers")["retrain_without_top.trak.k25"]
    assert number["value"] == record["25"]["all"]["trak"]["value"]


def test_numbers_come_from_their_metrics(study):
    numbers = study.json("numbers", "numbers")
    for method in METHODS:
        written = study.json("lds", "lds", method=method)["kinds"]
        for kind, entry in written.items():
            number = numbers[f"lds.{method}.{kind}"]
            assert (number["value"], number["interval"]) == (entry["lds"], entry["interval"])
            assert number["source"] == f"results/tiny/lds/{method}/lds.json"
            assert number["receipt"] == study.receipt("lds", method=method)["id"]
    for kind in ("generated", "heldout", "training"):
        ceiling = study.json("ceiling", "ceiling")["ceiling"]["kinds"][kind]["ceiling"]
        assert numbers[f"lds.ceiling.{kind}"]["value"] == ceiling
        difference = numbers[f"lds_difference.ekfac_trak.{kind}"]["value"]
        each = [numbers[f"lds.{method}.{kind}"]["value"] for method in ("ekfac", "trak")]
        assert difference == pytest.approx(each[0] - each[1], abs=1e-12)


def test_tables_and_figures(study):
    rows = list(csv.DictReader((study.out("tables") / "lds.csv").open()))
    assert rows
    assert (study.out("tables") / "lds.md").read_text().startswith("|")
    for path in study.out("figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 2000
        assert "<svg" in path.with_suffix(".svg").read_text()


@pytest.mark.parametrize(
    ("rule", "wildcards", "file"),
    [
        ("design", {"cohort": "own0_000_003"}, "subsets.safetensors"),
        ("train", {"cohort": "crn1_004_007"}, "models.safetensors"),
        ("queries", {}, "queries.safetensors"),
        ("measure", {"cohort": "crn0_000_003"}, "losses.safetensors"),
        (
            "gradients",
            {"model": "full", "set": "train", "quantity": "loss", "part": "030_039"},
            "gradients.safetensors",
        ),
        ("remove", {"cohort": "without25_trak"}, "subsets.safetensors"),
        ("eigenvalues", {"model": "full", "curvature": "model", "part": "000_029"}, "eigenvalues.safetensors"),
        ("score_similarity", {"model": "full", "method": "random"}, "scores.safetensors"),
        ("score_influence", {"model": "full", "method": "ekfac"}, "scores.safetensors"),
        ("lds", {"method": "trak"}, "lds.json"),
        ("numbers", {}, "numbers.json"),
        ("tables", {}, "lds.md"),
    ],
)
def test_a_job_done_again_writes_the_same_bytes(study, tmp_path, rule, wildcards, file):
    """On one machine with one thread, in another process state, and with an id that does not count when."""
    other = study.copy(tmp_path)
    before = (study.out(rule, **wildcards) / file).read_bytes()
    (other.out(rule, **wildcards) / file).unlink()
    np.random.random(3)
    assert (other.run(rule, **wildcards) / file).read_bytes() == before
    assert other.receipt(rule, **wildcards)["id"] == study.receipt(rule, **wildcards)["id"]


@pytest.mark.parametrize(
    "changes", [{"measurement": {"quantities": ["loss", "elbo", "trajectory"], "draws": 10, "batch": 7}}]
)
def test_batch_sizes_are_memory_only(study, tmp_path, changes):
    other = study.copy(tmp_path, **changes)
    other.run("measure", cohort="crn0_000_003")
    one, two = (s.tensors("measure", "losses", cohort="crn0_000_003")["loss"] for s in (study, other))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_gradient_batches_are_memory_only(study, tmp_path):
    other = study.copy(tmp_path, gradients=study.config["gradients"] | {"batch": 4})
    for part in paths.parts(study.config):
        other.run("gradients", model="full", set="train", quantity="loss", part=part)
    for name, value in of_loss(study, "gradients", "train").items():
        found = of_loss(other, "gradients", "train")[name]
        assert np.abs(found - value).max() < 1e-5 * np.abs(value).max()
