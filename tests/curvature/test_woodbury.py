"""Curvature from its rows: equal to a dense solve, whether the rows span all parameters or few of them."""

import numpy as np
import pytest
import torch
from torch import nn

from attribution.curvature import dual, ggn, woodbury
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.inner import inner
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError

RATIOS = [1e-6, 1e-3, 1.0]


def gradients(model, batch):
    return example_gradients(model, batch, "joint", loss_gradient)


def rows_of(model, batches, fisher, rows, bias="joint"):
    return woodbury.accumulate(model, batches, fisher=fisher, bias=bias, generator=None, rows=rows)


def dense(model, batch, fisher, bias="joint"):
    """F [P, P] as ggn.py sums it."""
    factors = ggn.accumulate(model, [batch], fisher=fisher, bias=bias, generator=None)
    return factors.A["all"] / factors.rows


def solved(q, g, F, damping):
    return flatten(q) @ torch.linalg.solve(F + damping * torch.eye(len(F)), flatten(g).mT)


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("fisher", ["type2", "mc", "empirical"])
@pytest.mark.parametrize("rows", [5, 40])
def test_equal_to_the_dense_solve(problem, fisher, rows, bias):
    # A condition number of 1e8 at most. F too large by R or 2, a damping of R lambda, or no part outside the span of
    # the rows is off by more than a hundredth at some damping.
    model, make = problem
    batch = make(rows, 1, 0)
    root = rows_of(model, [batch], fisher, rows, bias)
    held, F = woodbury.spectrum(root), dense(model, batch, fisher, bias)
    q, g = (example_gradients(model, make(3, 2, seed), bias, loss_gradient) for seed in (1, 2))
    unit = float(F.trace()) / len(F)
    assert woodbury.mean_eigenvalue(held) == pytest.approx(unit, rel=1e-12)
    dampings = [ratio * unit for ratio in RATIOS]
    found = woodbury.scores(q, [g], root, held, dampings)
    assert found.shape == (3, 3, 3)
    assert found.dtype == torch.float64
    for damping, layer in zip(dampings, found, strict=True):
        assert error(layer, solved(q, g, F, damping)) < 1e-8
    wrong = [solved(q, g, 2 * F, dampings[-1]), solved(q, g, F, rows * dampings[-1])]
    assert min(error(found[-1], other) for other in wrong) > 0.01


def test_rows_that_span_everything_need_no_damping():
    """Then scores at a damping of 1e-14 are those of the plain inverse. Woodbury's own form, a difference of two
    numbers that are each 1e14 times <q, g>, has few digits left.
    """
    model, batch = nn.Linear(3, 2), Batch((torch.randn(60, 3),), torch.randn(60, 2), 60, 1)
    root = rows_of(model, [batch], "type2", 60)
    held, F, g = woodbury.spectrum(root), dense(model, batch, "type2"), gradients(model, batch)
    assert held.complete
    assert held.vectors.shape == (120, 8)
    found, expected = woodbury.scores(g, [g], root, held, [1e-14])[0], flatten(g) @ torch.linalg.inv(F) @ flatten(g).mT
    assert error(found, expected) < 1e-11
    U, G = flatten(root.U), flatten(g)
    direct = G @ U.mT @ torch.linalg.solve(U @ U.mT + 60 * 1e-14 * torch.eye(120), U @ G.mT)
    assert error((G @ G.mT - direct) / 1e-14, expected) > 1e-3


def test_unsampled_directions_are_damped_alone(mlp):
    model, make = mlp
    root = rows_of(model, [make(4, 1, 0)], "mc", 4)
    held = woodbury.spectrum(root)
    U = flatten(root.U)
    assert held.values.shape == (4,)
    assert not held.complete
    outside = torch.randn(U.shape[1])
    outside -= torch.linalg.pinv(U) @ (U @ outside)
    shapes, start, g = {name: root.U[name].shape[1:] for name in sorted(root.U)}, 0, {}
    for name, shape in shapes.items():
        g[name] = outside[start : start + shape.numel()].view(1, *shape)
        start += shape.numel()
    found = woodbury.scores(g, [g], root, held, [1e-6, 1.0]).flatten()
    torch.testing.assert_close(found, outside @ outside / torch.tensor([1e-6, 1.0]), rtol=1e-9, atol=0)


def test_eigenvectors_are_orthonormal_and_eigenvalues_those_of_f(problem):
    model, make = problem
    batch = make(6, 1, 0)
    root = rows_of(model, [batch], "mc", 6)
    held, F = woodbury.spectrum(root), dense(model, batch, "mc")
    torch.testing.assert_close(held.values, torch.linalg.eigvalsh(F)[-6:], rtol=1e-9, atol=0)
    v = woodbury.coordinates({name: torch.eye(len(F))[:, s] for name, s in _slices(root)}, root, held)  # [P, K]
    torch.testing.assert_close(v.mT @ v, torch.eye(6), rtol=0, atol=1e-10)
    torch.testing.assert_close(F @ v, v * held.values, rtol=0, atol=1e-10 * float(held.values[-1]))


def _slices(root):
    """(block, columns of it in the flat order), shaped so that flatten puts the identity together again."""
    start = 0
    for name in sorted(root.U):
        size = root.U[name][0].numel()
        yield name, slice(start, start + size)
        start += size


def test_large_damping_is_the_gradient_dot_product(problem):
    model, make = problem
    root = rows_of(model, [make(5, 1, 0)], "mc", 5)
    q, g = gradients(model, make(3, 2, 1)), gradients(model, make(4, 2, 2))
    found = 1e12 * woodbury.scores(q, [g], root, woodbury.spectrum(root), [1e12])[0]
    torch.testing.assert_close(found, flatten(q) @ flatten(g).mT, rtol=1e-9, atol=1e-11)


def test_train_gradients_as_rows_give_trak(mlp):
    """F = Phi^T Phi / N of one draw an example: N times TRAK at N times the damping, from another code."""
    model, make = mlp
    batch = make(12, 1, 0)
    root = rows_of(model, [batch], "empirical", 12)
    q, g = gradients(model, make(3, 1, 1)), gradients(model, batch)
    kernel = inner(g, g)
    gram = {"query_train": inner(q, g).numpy(), "train_train": kernel.numpy()}
    unit = float(kernel.trace()) / 12
    found = woodbury.scores(q, [g], root, woodbury.spectrum(root), [ratio * unit / 12 for ratio in RATIOS])
    for layer, expected in zip(found.numpy(), 12 * dual.scores(gram, RATIOS), strict=True):
        assert np.abs(layer - expected).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize("fisher", ["mc", "type2"])
def test_batches_and_columns_do_not_matter(problem, fisher, monkeypatch):
    model, make = problem
    batch = make(7, 1, 0)

    def part(first, last):
        cut = slice(first, last)
        return Batch(tuple(x[cut] for x in batch.inputs), batch.target[cut], last - first, 1, batch.pseudo[cut])

    q = gradients(model, make(3, 1, 1))

    def run(batches):
        root = rows_of(model, iter(batches), fisher, 7)
        return woodbury.scores(q, [q], root, woodbury.spectrum(root), [1e-3])

    whole, parts = run([batch]), run([part(0, 4), part(4, 6), part(6, 7)])
    monkeypatch.setattr(woodbury, "COLUMNS", 3)
    for found in (parts, run([batch])):
        torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-11)


def test_single_precision_rows_are_solved_in_double(mlp):
    """Exact for the float32 numbers that U holds. The same algebra in float32 is off by more than a hundredth."""
    model, make = mlp
    batch = make(40, 1, 0)
    torch.set_default_dtype(torch.float32)
    model.float()
    single = Batch((batch.inputs[0].float(),), batch.target.float(), 40, 1, batch.pseudo.float())
    root, g = rows_of(model, [single], "mc", 40), gradients(model, single)
    assert root.U["first"].dtype == torch.float32
    held = woodbury.spectrum(root)
    damping = 1e-6 * woodbury.mean_eigenvalue(held)
    found = woodbury.scores(g, [g], root, held, [damping])[0]
    U, G = flatten(root.U).double(), flatten(g).double()
    eye = torch.eye(U.shape[1], dtype=torch.float64)
    assert error(found, G @ torch.linalg.solve(U.mT @ U / 40 + damping * eye, G.mT)) < 1e-8
    U, G = U.float(), G.float()
    small = (G @ U.mT) @ torch.linalg.solve(U @ U.mT + 40 * damping * torch.eye(40), U @ G.mT)
    assert error((G @ G.mT - small).double() / damping, found) > 0.01


def test_refusals(mlp, monkeypatch):
    model, make = mlp
    batch = make(4, 1, 0)
    root = rows_of(model, [batch], "mc", 4)
    held, g = woodbury.spectrum(root), gradients(model, batch)
    for damping in (0.0, -1.0, float("nan")):
        with pytest.raises(StudyError, match="above 0"):
            woodbury.scores(g, [g], root, held, [1.0, damping])
    with pytest.raises(StudyError, match="different blocks"):
        woodbury.coordinates({"first": g["first"]}, root, held)
    with pytest.raises(StudyError, match="more than 3 rows"):
        rows_of(model, [batch], "mc", 3)
    with pytest.raises(StudyError, match="4 of 5 rows"):
        rows_of(model, [batch], "mc", 5)
    with pytest.raises(StudyError, match="0 of 5 rows"):
        rows_of(model, [], "mc", 5)
    with pytest.raises(StudyError, match="are zero"):
        woodbury.spectrum(woodbury.Root({"a": torch.zeros(2, 1, 3)}, 2))
    with pytest.raises(StudyError, match="not finite"):
        woodbury.spectrum(woodbury.Root({"a": torch.full((2, 1, 3), torch.inf)}, 2))
    monkeypatch.setattr(woodbury, "LIMIT", 7)
    with pytest.raises(StudyError, match="8 vectors are too many"):
        rows_of(model, [batch], "type2", 4)
