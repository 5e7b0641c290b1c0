"""Grams of gradients in parts, with and without projections: dense products, memory, and what score_gradients makes."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.curvature import sketch
from attribution.curvature.files import packed, save_packed
from attribution.curvature.gradients import flatten
from attribution.errors import StudyError
from attribution.provenance.job import Job
from attribution.steps import gram, score_gradients
from attribution.workflow import registry

N, Q = 11, 4
SHAPES = {"first": (3, 4), "last": (2, 5)}  # P = 22
KINDS = ["none", "count8", "rademacher8"]


def gradients(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, *shape, generator=generator).double() for name, shape in SHAPES.items()}


@pytest.fixture
def job(tmp_path):
    """job(cuts, projection, ...) -> a Job of gram, whose training gradients are in parts that end at the cuts."""

    def make(cuts, projection, *, seed=0, bits=32, meta=None):
        train, parts = gradients(N, 0), []
        for first, last in pairwise([0, *cuts, N]):
            parts.append(tmp_path / f"{first}_{last}_{bits}")
            rows = {name: part[first:last] for name, part in train.items()}
            save_packed(parts[-1], [packed(rows.items(), bits)])
        queries = tmp_path / f"queries_{bits}"
        save_packed(queries, [packed(gradients(Q, 1).items(), bits)], meta)
        spec = {"seed": seed, "job": {"projection": projection}}
        return Job("gram", spec, tmp_path / "out", {"train": parts, "queries": [queries]}, "id")

    return make


def made(job):
    gram.run(job)
    return load_tensors(job.out / "gram.safetensors")


def features(projection, seed=0):
    """Phi [N, D] and queries [Q, D] by the dense matrix of the projection, [P, D]: what it makes of unit vectors."""
    phi, queries = flatten(gradients(N, 0)), flatten(gradients(Q, 1))
    kind, dimensions = sketch.parse(projection)
    eye, S, start = torch.eye(phi.shape[1]).double(), [], 0
    for name in sorted(SHAPES):
        size = SHAPES[name][0] * SHAPES[name][1]
        block = {name: eye[start : start + size, start : start + size].unflatten(1, SHAPES[name])}
        S.append(sketch.project(block, kind, dimensions, seed))
        start += size
    S = torch.block_diag(*S) if kind == "none" else torch.cat(S)
    return (phi @ S).numpy(), (queries @ S).numpy()


@pytest.mark.parametrize("projection", KINDS)
@pytest.mark.parametrize("cuts", [[], [5], [1, 7]])
def test_products_of_parts_are_those_of_the_whole(job, projection, cuts):
    """1e-12 over one, two and three parts, uneven ones: a part with other rows of S, or out of order, is off by 1."""
    found, (phi, queries) = made(job(cuts, projection)), features(projection)
    expected = {
        "query_train": queries @ phi.T,
        "train_train": phi @ phi.T,
        "query_norm": (queries**2).sum(1),
        "train_norm": (phi**2).sum(1),
    }
    if projection != "none":  # a sketch is of another example's size, and so are its norms
        assert abs(expected["train_norm"] - (features("none")[0] ** 2).sum(1)).max() > 1
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * np.abs(value).max())


@pytest.mark.parametrize("projection", KINDS)
def test_memory(job, projection, monkeypatch):
    """Two files of gradients at most are open at a time, those of one with a projection; every pair is read once."""
    alive, most, read, load = [0], [0], [], gram.load_gradients

    def counted(path, device):
        held = load(path, device)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        read.append(path)
        weakref.finalize(held, lambda: alive.__setitem__(0, alive[0] - 1))
        return held

    monkeypatch.setattr(gram, "load_gradients", counted)
    made(job([2, 5, 8], projection))
    assert most[0] == (2 if projection == "none" else 1)
    assert len(read) == (1 + 4 + 4 + 6 if projection == "none" else 5)


@pytest.mark.parametrize("kind", ["count8", "rademacher8"])
def test_projection_is_of_the_studys_seed(job, kind):
    first, same, other = (made(job([5], kind, seed=seed))["train_train"] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert np.abs(first - other).max() > 1


def test_eight_bits(job):
    """Within the errors of half a step an entry: 2% of products of 22 entries; codes for gradients are off by all."""
    exact, found = (made(job([5], "none", bits=bits)) for bits in (32, 8))
    for name, value in exact.items():
        assert 0 < np.abs(found[name] - value).max() < 0.02 * np.abs(value).max()


@pytest.mark.parametrize("projection", KINDS)
def test_trak_of_a_gram_is_the_solve_in_features(job, projection, tmp_path):
    """q^T (Phi^T Phi + lambda I)^-1 Phi^T by a D x D solve with the same sketch in float64; scores are float32."""
    dampings = [0.01, 1.0]
    found = scored(job([5], projection), tmp_path, "trak", {"dampings": dampings})
    phi, queries = features(projection)
    unit = (phi**2).sum(1).mean()
    assert found["scores"].dtype == np.float32
    assert found["dampings"].tolist() == dampings
    for layer, damping in zip(found["scores"], dampings, strict=True):
        expected = queries @ np.linalg.solve(phi.T @ phi + damping * unit * np.eye(phi.shape[1]), phi.T)
        np.testing.assert_allclose(layer, expected, atol=1e-6 * np.abs(expected).max())


def scored(gram_job, folder, method, config):
    """Scores of a variant of a method."""
    gram.run(gram_job)
    name, declared = f"{method}_variant", registry.method(method)
    job = {"method": name, "module": declared.module, "function": method}
    spec = {"job": job, "methods": {name: config}}
    path = gram_job.out / "gram.safetensors"
    score_gradients.run(Job("score_gradients", spec, folder / "scores", {"gram": [path]}, "id"))
    return load_tensors(folder / "scores/scores.safetensors")


def test_journey_trak_is_trak_with_other_queries(job, tmp_path):
    config = {"dampings": [0.1]}
    one, other = (scored(job([5], "none"), tmp_path, module, config)["scores"] for module in ("trak", "journey_trak"))
    assert np.array_equal(one, other)


def test_similarity_has_no_dampings(job, tmp_path):
    found = scored(job([5], "none"), tmp_path, "gradient_dot", {"projection": "none"})
    phi, queries = features("none")
    assert found.keys() == {"scores"}
    np.testing.assert_allclose(found["scores"][0], queries @ phi.T, rtol=1e-6, atol=1e-6)


def test_draws_reach_das(job, tmp_path):
    """Four rows are two draws of two queries, query by query: the file's meta says so, through the gram's."""
    held = job([5], "none", meta={"draws": 2})
    found = scored(held, tmp_path, "das", {"dampings": [1e9]})["scores"]
    assert load_meta(held.out / "gram.safetensors") == {"draws": 2}
    phi, queries = features("none")
    ridge = 1e9 * (phi**2).sum(1).mean()
    expected = ((queries @ phi.T / ridge) ** 2).reshape(2, 2, N).mean(1)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_methods_that_know_no_draws_refuse_them(job, tmp_path):
    with pytest.raises(StudyError, match="trak_variant: takes one gradient a query, not 2"):
        scored(job([5], "none", meta={"draws": 2}), tmp_path, "trak", {"dampings": [0.1]})


def test_nonsense_is_refused(job):
    with pytest.raises(StudyError, match="projection 'gauss7'"):
        gram.run(job([], "gauss7"))
    held = job([5], "none")
    save_tensors(held.inputs["train"][1], {})
    held.inputs["train"][1].write_bytes(b"half")
    with pytest.raises(StudyError, match="truncated or damaged"):
        gram.run(held)
