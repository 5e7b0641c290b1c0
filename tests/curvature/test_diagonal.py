"""The diagonal curvature: that of the dense matrix, for every Fisher, and exact where the matrix is diagonal."""

import pytest
import torch
from torch import nn

from attribution.curvature import diagonal, ekfac, ggn
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue
from attribution.errors import StudyError


def fit(model, batches, fisher, bias="joint"):
    return diagonal.accumulate(model, batches, fisher=fisher, bias=bias, generator=None)


def dense(model, batch, fisher, bias="joint"):
    factors = ggn.accumulate(model, [batch], fisher=fisher, bias=bias, generator=None)
    return factors.A["all"] / factors.rows


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("fisher", ["type2", "mc", "empirical"])
def test_equal_to_the_diagonal_of_the_dense_matrix(problem, fisher, bias):
    # Squares of single positions in place of their sum, or a lost 1/R, are errors of order 1.
    model, make = problem
    batch = make(4, 2, 0)
    F, values = dense(model, batch, fisher, bias), ekfac.mean(fit(model, [batch], fisher, bias))
    found = flatten({name: value[None] for name, value in values.items()})[0]
    torch.testing.assert_close(found, F.diagonal(), rtol=1e-11, atol=1e-14 * float(F.diagonal().max()))
    assert mean_eigenvalue(values) == pytest.approx(float(F.trace()) / len(F), rel=1e-12)


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_scores_are_those_of_the_inverse_diagonal(problem, bias):
    model, make = problem
    batch = make(4, 2, 0)
    held, F = fit(model, [batch], "type2", bias), dense(model, batch, "type2", bias)
    q, g = (example_gradients(model, make(3, 2, seed), bias, loss_gradient) for seed in (1, 2))
    dampings = [1e-6, 1e-2, 1.0]
    found = diagonal.sweep(q, g, held, dampings)
    for layer, damping in zip(found, dampings, strict=True):
        expected = flatten(q) / (F.diagonal() + damping) @ flatten(g).mT
        torch.testing.assert_close(layer, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_exact_where_the_curvature_is_diagonal():
    """One-hot inputs of a linear model: no two parameters meet in a gradient. Dense inputs are another matter."""
    model, y = nn.Linear(3, 2, bias=False), torch.randn(12, 2)

    def both(x):
        batch = Batch((x,), y, 12, 1)
        g = example_gradients(model, batch, "joint", loss_gradient)
        factors = ggn.accumulate(model, [batch], fisher="type2", bias="joint", generator=None)
        exact = ggn.dense_scores(g, [g], factors, [0.01])[0]
        return diagonal.sweep(g, g, fit(model, [batch], "type2"), [0.01])[0], exact

    found, exact = both(torch.eye(3).repeat(4, 1) * torch.randn(12, 1))
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)
    found, exact = both(torch.randn(12, 3) + 1)
    assert (found - exact).norm() > 0.1 * exact.norm()


def test_batches_and_merging(problem):
    model, make = problem
    one, two = make(3, 1, 0), make(5, 1, 1)
    whole = ekfac.mean(fit(model, [one, two], "empirical"))
    merged = ekfac.mean(ekfac.merge([fit(model, [two], "empirical"), fit(model, [one], "empirical")]))
    for name, expected in whole.items():
        torch.testing.assert_close(merged[name], expected, rtol=1e-12, atol=0)


def test_dead_units_contribute_nothing(mlp):
    model, make = mlp
    model.last.weight.data.zero_()
    held = fit(model, [make(6, 1, 0)], "type2")
    g = example_gradients(model, make(3, 1, 1), "joint", loss_gradient)
    found = diagonal.sweep(g, g, held, [0.0, 1.0])
    assert not held.sums["first"].any()
    assert found.isfinite().all()
    assert found[0].any()


def test_identity_is_shared_between_blocks_of_one_size(unet):
    model, _ = unet
    basis = diagonal.identity(model, "separate")
    assert basis.QA["q.weight"] is basis.QA["k.weight"] is basis.QB["v.weight"]
    assert basis.QA["inward.weight"].shape == (18, 18)
    assert basis.QA["inward.bias"].shape == (1, 1)
    assert diagonal.identity(model, "joint").QA["inward"].shape == (19, 19)


def test_refusals(mlp):
    model, make = mlp
    g = example_gradients(model, make(2, 1, 0), "joint", loss_gradient)
    with pytest.raises(StudyError, match="hold no rows"):
        diagonal.sweep(g, g, fit(model, [], "mc"), [1.0])
    with pytest.raises(StudyError, match="different blocks"):
        diagonal.sweep({"first": g["first"]}, g, fit(model, [make(2, 1, 0)], "mc"), [1.0])
