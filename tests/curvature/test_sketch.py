"""Random projections: their matrix by projecting the identity, its moments, and what it must not depend on."""

import pytest
import torch

from attribution.curvature import sketch
from attribution.curvature.gradients import flatten
from attribution.errors import StudyError

KINDS = ["count", "rademacher"]
SHAPES = {"first": (3, 4), "last": (2, 3)}
P = 18


def matrix(kind, dimensions, seed):
    """S [P, D]: the projection of the P unit vectors."""
    eye, start, unit = torch.eye(P), 0, {}
    for name in sorted(SHAPES):
        size = SHAPES[name][0] * SHAPES[name][1]
        unit[name] = eye[:, start : start + size].unflatten(1, SHAPES[name])
        start += size
    return sketch.project(unit, kind, dimensions, seed)


def gradients(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, *shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_projection_is_its_matrix(kind):
    g = gradients(5)
    S = matrix(kind, 7, 0)
    assert S.shape == (P, 7)
    torch.testing.assert_close(sketch.project(g, kind, 7, 0), flatten(g) @ S, rtol=1e-12, atol=1e-14)
    entries = S.abs().unique().tolist()
    assert entries == pytest.approx([0, 1] if kind == "count" else [7**-0.5])
    torch.testing.assert_close(S.square().sum(1), torch.ones(P))  # every row of S is of length 1


@pytest.mark.parametrize("kind", KINDS)
def test_moments(kind):
    """E[S S^T] = I, and the variance of <x S, y S> is that of independent signs, over 4000 seeds with D = 8.

    Standard errors are 0.006 an entry and 4% of a variance. Entries of +-1 without 1/sqrt(D) have mean 8 I; blocks that
    share one stream have entries of 1 off the diagonal, one bucket or one sign for all a variance D times too large.
    """
    S = torch.stack([matrix(kind, 8, seed) for seed in range(4000)])  # [seeds, P, D]
    torch.testing.assert_close((S @ S.mT).mean(0), torch.eye(P), rtol=0, atol=0.03)
    torch.testing.assert_close(S.mean(0), torch.zeros(P, 8), rtol=0, atol=0.03)
    x, y = (flatten(gradients(1, seed))[0] for seed in (1, 2))
    found = ((x @ S) * (y @ S)).sum(1)
    variance = (x @ x * (y @ y) + (x @ y) ** 2 - 2 * (x * y).square().sum()) / 8
    assert float(found.mean()) == pytest.approx(float(x @ y), abs=5 * float(variance / 4000) ** 0.5)
    assert float(found.var()) == pytest.approx(float(variance), rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_error_falls_with_the_root_of_dimensions(kind):
    g = {"wide": torch.randn(30, 10, 50)}
    exact = flatten(g) @ flatten(g).mT

    def error(dimensions):
        runs = [sketch.project(g, kind, dimensions, seed) for seed in range(5)]
        return sum(float((p @ p.mT - exact).norm()) for p in runs) / 5 / float(exact.norm())

    few, many = error(32), error(32 * 16)
    assert few / many == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_batches_order_or_chunks(kind, monkeypatch):
    g = gradients(9)
    whole = sketch.project(g, kind, 40, 3)
    parts = torch.cat(
        [sketch.project({k: v[cut] for k, v in g.items()}, kind, 40, 3) for cut in (slice(4), slice(4, 9))]
    )
    turned = sketch.project({name: g[name] for name in reversed(g)}, kind, 40, 3)
    apart = sum(sketch.project({name: part}, kind, 40, 3) for name, part in g.items())
    monkeypatch.setattr(sketch, "ENTRIES", 100)
    for found in (parts, turned, apart, sketch.project(g, kind, 40, 3)):
        torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_differ_between_seeds_blocks_and_widths(kind):
    x = torch.randn(1, 3, 4)
    found = [
        sketch.project({name: x}, kind, D, seed)[0, :16] for name, D, seed in [("a", 16, 0), ("b", 16, 0), ("a", 16, 1)]
    ]
    found.append(sketch.project({"a": x}, kind, 17, 0)[0, :16] * (17 / 16 if kind == "rademacher" else 1) ** 0.5)
    assert all((found[i] - found[j]).norm() > 0.1 for i in range(4) for j in range(i))


def test_matrices_stay_what_they_are():
    """Stored features are compared with later ones: a change of the streams would make them strangers."""
    unit = {"a": torch.eye(8).view(8, 2, 4)}
    count, signs = (sketch.project(unit, kind, 5, 0) for kind in KINDS)
    assert (count @ torch.arange(1.0, 6.0)).tolist() == [-3, -3, 5, 5, 5, -4, -2, -2]
    assert signs[:, 0].sign().tolist() == [-1, 1, 1, 1, 1, -1, 1, -1]


def test_precision_is_the_gradients():
    g = {name: part.float() for name, part in gradients(4).items()}
    for kind in KINDS:
        found = sketch.project(g, kind, 6, 0)
        exact = sketch.project({name: part.double() for name, part in g.items()}, kind, 6, 0)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_none_is_the_gradients_side_by_side():
    g = gradients(4)
    assert torch.equal(sketch.project(g, "none", 3, 0), flatten(g))


def test_names():
    assert sketch.parse("none") == ("none", 0)
    assert sketch.parse("count4096") == ("count", 4096)
    assert sketch.parse("rademacher8") == ("rademacher", 8)


@pytest.mark.parametrize(
    "name", ["", "count", "count0", "count-4", "count4k", "none8", "gaussian8", "8", "Count8", "count8\n"]
)
def test_nonsense_names(name):
    with pytest.raises(StudyError, match="choose none, or count or rademacher with a number"):
        sketch.parse(name)


def test_refusals():
    with pytest.raises(StudyError, match="choose none, count or rademacher"):
        sketch.project(gradients(1), "gaussian", 4, 0)
    with pytest.raises(StudyError, match="1 or more"):
        sketch.project(gradients(1), "count", 0, 0)
    with pytest.raises(StudyError, match="no gradients"):
        sketch.project({}, "count", 4, 0)
