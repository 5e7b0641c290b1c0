"""The damping at which top influences are removed: the choice of the step lds, whatever its intervals are."""

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.core.store import load_json, load_meta, load_tensors, save_tensors
from attribution.evaluation.selection import KINDS
from attribution.provenance.job import Job
from attribution.steps import lds, remove, retrained

S, N, Q = 24, 30, 9
TARGETS = ["loss", "elbo"]


@pytest.fixture
def files(tmp_path):
    """Two replicates' outcomes, scores whose best damping depends on the kind, and the queries."""
    stream = rng(0, "test remove")
    truth = stream.normal(size=(Q, N))
    members = np.stack([np.sort(stream.choice(N, N // 2, replace=False)) for _ in range(S)])
    masks = np.zeros((S, N))
    np.put_along_axis(masks, members, 1, axis=1)
    kind = np.repeat([0, 1, 2], 3)
    loss = np.stack([(1 - masks) @ truth.T + 0.5 * stream.normal(size=(S, Q)) for _ in range(2)])
    measured = {f"{retrained.MEASURED}loss": loss, f"{retrained.MEASURED}elbo": -loss}
    outcomes = tmp_path / "outcomes.safetensors"
    save_tensors(outcomes, {"number": np.arange(S), "members": members} | measured)
    layers = np.stack([truth + scale * stream.normal(size=(Q, N)) for scale in (0.5, 1.0, 2.0)])
    layers = np.stack([[layers[(i + kind[q]) % 3, q] for q in range(Q)] for i in range(3)])  # best: 0, 2, 1
    scores, queries = tmp_path / "scores.safetensors", tmp_path / "queries.safetensors"
    save_tensors(scores, {"scores": layers.astype(np.float32), "dampings": np.array([0.1, 1.0, 10.0], np.float32)})
    save_tensors(queries, {"kind": kind}, {"kinds": list(KINDS)})
    return {"outcomes": [outcomes], "scores": [scores], "queries": [queries]}


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
