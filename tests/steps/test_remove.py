"""The damping at which top influences are removed: the choice of the step lds, whatever its intervals are."""

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.core.store import load_json, load_meta, load_tensors, save_tensors
from attribution.evaluation.selection import KINDS
from attribution.provenance.job import Job
from attribution.steps import lds, outcomes, remove

S, N, Q = 24, 30, 9
TARGETS = ["loss", "elbo"]


@pytest.fixture
def files(tmp_path):
    """Two replicates of two cohorts each, scores whose best damping depends on the kind, and the queries."""
    stream = rng(0, "test remove")
    truth = stream.normal(size=(Q, N))
    members = np.stack([np.sort(stream.choice(N, N // 2, replace=False)) for _ in range(S)])
    masks = np.zeros((S, N))
    np.put_along_axis(masks, members, 1, axis=1)
    kind = np.repeat([0, 1, 2], 3)
    inputs = {"subsets": [], "losses": []}
    for replicate in (0, 1):
        for half in (slice(0, S // 2), slice(S // 2, S)):
            loss = (1 - masks[half]) @ truth.T + 0.5 * stream.normal(size=(S // 2, Q))
            where = tmp_path / f"{replicate}{half.start}"
            inputs["subsets"].append(where / "subsets.safetensors")
            inputs["losses"].append(where / "losses.safetensors")
            drawn = {"number": np.arange(S)[half], "members": members[half]}
            save_tensors(inputs["subsets"][-1], drawn, {"replicate": replicate})
            save_tensors(inputs["losses"][-1], {"loss": loss, "elbo": -loss})
    layers = np.stack([truth + scale * stream.normal(size=(Q, N)) for scale in (0.5, 1.0, 2.0)])
    layers = np.stack([[layers[(i + kind[q]) % 3, q] for q in range(Q)] for i in range(3)])  # best: 0, 2, 1
    scores, queries = tmp_path / "scores.safetensors", tmp_path / "queries.safetensors"
    save_tensors(scores, {"scores": layers.astype(np.float32), "dampings": np.array([0.1, 1.0, 10.0], np.float32)})
    save_tensors(queries, {"kind": kind}, {"kinds": list(KINDS)})
    return inputs | {"scores": [scores], "queries": [queries]}


def job(step, files, out, **job):
    spec = {
        "seed": 0,
        "removal": {"queries": 2, "replicates": 2},
        "measurement": {"quantities": TARGETS},
        "evaluation": {"bootstrap": 10, "coverage": 0.9},
        "methods": {"trak": {"damping": 0.1}},
        "job": {"cohort": "without20_trak", "percent": 20, "method": "trak", "base": "trak"} | job,
    }
    return Job(step, spec, out, files, "id")


def test_removed_at_the_damping_that_lds_chooses(files, tmp_path):
    lds.run(job("lds", files, tmp_path / "lds"))
    chosen = {kind: entry["selected_damping"] for kind, entry in load_json(tmp_path / "lds/lds.json")["kinds"].items()}
    assert chosen == {"generated": 0.1, "heldout": 10.0, "training": 1.0}
    remove.run(job("remove", files, tmp_path / "out"))
    design = load_tensors(tmp_path / "out/subsets.safetensors")
    assert design["query"].tolist() == [0, 1, 3, 4, 6, 7] * 2
    assert load_meta(tmp_path / "out/subsets.safetensors")["streams"] == [["crn", 0]] * 6 + [["crn", 1]] * 6
    layers = load_tensors(files["scores"][0])["scores"]
    for members, q in zip(design["members"], design["query"], strict=True):
        row = layers[{0: 0, 1: 2, 2: 1}[q // 3], q]
        assert set(range(N)) - set(members.tolist()) == set(np.argsort(-row)[:6].tolist())


def test_without_dampings_the_one_layer_is_ranked(files, tmp_path):
    plain = tmp_path / "plain.safetensors"
    layer = load_tensors(files["scores"][0])["scores"][:1]
    save_tensors(plain, {"scores": layer})
    remove.run(job("remove", files | {"scores": [plain]}, tmp_path / "out"))
    design = load_tensors(tmp_path / "out/subsets.safetensors")
    assert set(range(N)) - set(design["members"][2].tolist()) == set(np.argsort(-layer[0, 3])[:6].tolist())


def test_nothing_removed(files, tmp_path):
    remove.run(job("remove", files, tmp_path / "out", percent=0, cohort="without0_random"))
    design = load_tensors(tmp_path / "out/subsets.safetensors")
    assert design["members"].tolist() == [list(range(N))] * 2
    assert design["query"].tolist() == [-1, -1]


def test_losses_of_all_targets_are_read_once(files, monkeypatch):
    read = []
    monkeypatch.setattr(outcomes, "load_tensors", lambda path: read.append(path) or load_tensors(path))
    found = outcomes.retrained_for(files["subsets"], files["losses"], N, TARGETS)
    assert len(read) == len(set(read)) == 8
    np.testing.assert_array_equal(found["elbo"].outcomes, -found["loss"].outcomes)
    assert found["loss"].outcomes.shape == (2, S, Q)
    # cohorts in another order are the same study
    backwards = outcomes.retrained(files["subsets"][::-1], files["losses"][::-1], N, "loss")
    np.testing.assert_array_equal(backwards.outcomes, found["loss"].outcomes)
