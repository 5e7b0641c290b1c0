"""Damped solves: equal to the dense inverse at every damping, and what damping means at its two ends."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from attribution.curvature import ekfac, ggn, kfac
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue, relative, relative_damping, scores, sweep
from attribution.errors import StudyError

LARGE = 1e12


def fit(model, batch, bias="joint", sharing="expand"):
    factors = kfac.accumulate(model, [batch], fisher="type2", sharing=sharing, bias=bias, generator=None)
    basis = kfac.eigenbasis(factors)
    eigenvalues = ekfac.accumulate_eigenvalues(model, [batch], basis, fisher="type2", bias=bias, generator=None)
    return factors, basis, kfac.kfac_eigenvalues(basis), ekfac.mean(eigenvalues)


def gradients(model, batch, bias="joint"):
    return example_gradients(model, batch, bias, loss_gradient)


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("damping", [1e-8, 1e-3, 1.0])
def test_equal_to_the_dense_inverse(mlp, damping, bias):
    # 200 rows: factors of full rank. No weight is square, so A (x) B in place of B (x) A is another matrix: an error of
    # order 1, and above 1e-4 even at damping 1, where the curvature is a small correction.
    model, make = mlp
    factors, basis, eigenvalues, _ = fit(model, make(200, 1, 0), bias)
    q, g = gradients(model, make(3, 2, 1), bias), gradients(model, make(4, 2, 2), bias)
    expected, swapped, separate = 0, 0, 0
    for name in q:
        A, B = factors.A[name] / factors.rows, factors.B[name] / factors.rows
        eye = torch.eye(len(A) * len(B)) * damping
        left, right = q[name].flatten(1), g[name].flatten(1)
        expected = expected + left @ torch.linalg.solve(torch.kron(B, A) + eye, right.mT)
        swapped = swapped + left @ torch.linalg.solve(torch.kron(A, B) + eye, right.mT)
        half = damping**0.5  # damping of each factor is another matrix
        B_half, A_half = B + half * torch.eye(len(B)), A + half * torch.eye(len(A))
        separate = separate + left @ torch.linalg.solve(torch.kron(B_half, A_half), right.mT)
    found = scores(ekfac.rotate(q, basis), ekfac.rotate(g, basis), eigenvalues, damping)
    assert (found - expected).norm() < 1e-9 * expected.norm()
    assert (swapped - expected).norm() > (1e-4 if damping == 1 else 0.1) * expected.norm()
    assert (separate - expected).norm() > 1e-4 * expected.norm()


def test_sweep_is_scores_at_every_damping(problem):
    model, make = problem
    _, basis, _, eigenvalues = fit(model, make(4, 2, 0))
    q, g = (ekfac.rotate(gradients(model, make(3, 2, seed)), basis) for seed in (1, 2))
    dampings = [1e-4, 1e-2, 1.0]
    found = sweep(q, g, eigenvalues, dampings)
    assert found.shape == (3, 3, 3)
    for damping, one in zip(dampings, found, strict=True):
        torch.testing.assert_close(one, scores(q, g, eigenvalues, damping), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_a_damping_for_every_block_is_a_dense_inverse_of_every_block(problem, bias):
    # Damping in the unit of the model is off by more than a hundredth: the blocks' mean eigenvalues differ.
    model, make = problem
    factors, basis, eigenvalues, _ = fit(model, make(60, 1, 0), bias)
    q, g = gradients(model, make(3, 2, 1), bias), gradients(model, make(4, 2, 2), bias)
    rotated = ekfac.rotate(q, basis), ekfac.rotate(g, basis)
    ratios = [1e-3, 0.1, 1.0]
    found = sweep(*rotated, eigenvalues, relative(eigenvalues, ratios, "block"))
    of_model = sweep(*rotated, eigenvalues, relative(eigenvalues, ratios, "model"))
    for layer, other, ratio in zip(found, of_model, ratios, strict=True):
        expected = 0
        for name in q:
            F = torch.kron(factors.B[name], factors.A[name]) / factors.rows**2
            damped = F + ratio * F.trace() / len(F) * torch.eye(len(F))
            expected = expected + q[name].flatten(1) @ torch.linalg.solve(damped, g[name].flatten(1).mT)
        assert (layer - expected).norm() < 1e-9 * expected.norm()
        assert (other - expected).norm() > 0.01 * expected.norm()


def test_units_are_one_for_one_block():
    eigenvalues, g = {"w": torch.rand(2, 3)}, {"w": torch.randn(4, 2, 3)}
    ratios = [1e-3, 1.0]
    by_block, of_model = (relative(eigenvalues, ratios, unit) for unit in ("block", "model"))
    assert [damping["w"] for damping in by_block] == pytest.approx(of_model, rel=1e-15)
    torch.testing.assert_close(
        sweep(g, g, eigenvalues, by_block), sweep(g, g, eigenvalues, of_model), rtol=1e-14, atol=0
    )


def test_eight_bits_of_the_preconditioned_query_gradients(problem):
    """Exactly those of the codes by hand, query by query and block by block; nearly those of 32 bits.

    Codes of the gradients before their division, or of the training gradients, are other numbers.
    """
    model, make = problem
    _, basis, _, eigenvalues = fit(model, make(40, 1, 0))
    q, g = (ekfac.rotate(gradients(model, make(n, 2, seed)), basis) for n, seed in ((5, 1), (30, 2)))
    dampings = [0.01 * mean_eigenvalue(eigenvalues), {name: 0.5 + len(name) for name in eigenvalues}]
    found = sweep(q, g, eigenvalues, dampings, 8)
    for layer, damping in zip(found, dampings, strict=True):
        expected, early = torch.zeros(5, 30), torch.zeros(5, 30)
        for name, values in eigenvalues.items():
            inverse = 1 / (values + (damping[name] if isinstance(damping, dict) else damping))
            for i in range(5):
                expected[i] += (coded(q[name][i] * inverse) * g[name]).sum((1, 2))
                early[i] += (coded(q[name][i]) * inverse * g[name]).sum((1, 2))
        torch.testing.assert_close(layer, expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
        assert (early - expected).abs().max() > 1e-6 * expected.abs().max()
    plain = sweep(q, g, eigenvalues, dampings)
    assert not torch.isclose(found, plain, rtol=1e-9).all()
    for one, two in zip(found.flatten(0, 1), plain.flatten(0, 1), strict=True):
        assert spearmanr(one, two).statistic > 0.99


def coded(x):
    """What 256 levels between its least and its largest entry leave of x."""
    step = (x.max() - x.min()) / 255
    return x.min() + step * ((x - x.min()) / step).round()


def test_large_damping_is_the_gradient_dot_product(problem):
    model, make = problem
    _, basis, _, eigenvalues = fit(model, make(4, 2, 0))
    q, g = gradients(model, make(3, 2, 1)), gradients(model, make(5, 2, 2))
    found = LARGE * scores(ekfac.rotate(q, basis), ekfac.rotate(g, basis), eigenvalues, LARGE)
    torch.testing.assert_close(found, flatten(q) @ flatten(g).mT, rtol=1e-9, atol=1e-11)


def test_no_damping_of_full_rank_is_the_inverse():
    model, batch = nn.Linear(3, 2), Batch((torch.randn(20, 3),), torch.randn(20, 2), 20, 1)
    factors, basis, eigenvalues, _ = fit(model, batch)
    g = gradients(model, batch)
    dense = torch.kron(factors.B[""], factors.A[""]) / factors.rows**2
    expected = flatten(g) @ torch.linalg.inv(dense) @ flatten(g).mT
    rotated = ekfac.rotate(g, basis)
    torch.testing.assert_close(scores(rotated, rotated, eigenvalues, 0.0), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("damping", [0.0, 1e-12, 1.0])
def test_dead_blocks_contribute_nothing(mlp, damping):
    """The last layer's weight is zero: nothing flows back to the first two, whose B and gradients are zero."""
    model, make = mlp
    model.last.weight.data.zero_()
    _, basis, kron, corrected = fit(model, make(20, 1, 0))
    q = ekfac.rotate(gradients(model, make(3, 1, 1)), basis)
    for eigenvalues in (kron, corrected):
        found = scores(q, q, eigenvalues, damping)
        alive = scores({"last": q["last"]}, {"last": q["last"]}, {"last": eigenvalues["last"]}, damping)
        assert not eigenvalues["first"].any()
        assert found.isfinite().all()
        assert torch.equal(found, alive)
        assert alive.any()


def test_degenerate_eigenvectors_are_free():
    """Any rotation within equal eigenvalues is as good a basis; K-FAC scores do not see which one eigh chose."""
    A, B = torch.eye(3) * 2, torch.randn(2, 2)
    factors = kfac.Factors({"w": A}, {"w": B @ B.mT}, 1)
    basis = kfac.eigenbasis(factors)
    turned, _ = torch.linalg.qr(torch.randn(3, 3))
    other = kfac.Basis({"w": basis.QA["w"] @ turned}, {"w": -basis.QB["w"]}, basis.a, basis.b)
    g = {"w": torch.randn(4, 2, 3)}
    one, two = (
        scores(ekfac.rotate(g, held), ekfac.rotate(g, held), kfac.kfac_eigenvalues(held), 0.1)
        for held in (basis, other)
    )
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_mean_eigenvalue_is_trace_over_parameters(problem):
    model, make = problem
    batch = make(4, 2, 0)
    _, _, kron, corrected = fit(model, batch)
    exact = ggn.accumulate(model, [batch], fisher="type2", bias="joint", generator=None)
    expected = float(exact.A["all"].trace()) / exact.rows / len(exact.A["all"])
    assert mean_eigenvalue(corrected) == pytest.approx(expected, rel=1e-12)
    assert relative_damping(corrected, 0.1) == pytest.approx(0.1 * expected, rel=1e-12)
    assert mean_eigenvalue({"a": torch.ones(1, 3), "b": torch.zeros(1, 1)}) == 0.75  # over parameters, not over blocks
    assert mean_eigenvalue(kron) > 0


@pytest.mark.parametrize("curvature", ["kfac", "ekfac", "exact"])
def test_sum_and_mean_convention(problem, curvature):
    """A loss summed over D dims is D times the mean: at damping D lambda the scores are D times those at lambda."""
    model, make = problem
    batch = make(4, 2, 0)
    D = batch.target[0].numel()

    class Scaled(nn.Module):  # mean over D of (sqrt(D) f - sqrt(D) y)^2 is the sum of (f - y)^2
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *inputs):
            return D**0.5 * self.inner(*inputs)

    def run(model, batch, damping):
        g = gradients(model, batch)
        if curvature == "exact":
            factors = ggn.accumulate(model, [batch], fisher="type2", bias="joint", generator=None)
            return ggn.dense_scores(g, [g], factors, [damping])[0]
        _, basis, kron, corrected = fit(model, batch)
        g = ekfac.rotate(g, basis)
        return scores(g, g, kron if curvature == "kfac" else corrected, damping)

    summed = run(Scaled(), Batch(batch.inputs, D**0.5 * batch.target, 4, 2), D * 1e-2)
    torch.testing.assert_close(summed, D * run(model, batch, 1e-2), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_exact_scores_equal_a_dense_solve(problem, damping):
    model, make = problem
    batch = make(6, 2, 0)
    factors = ggn.accumulate(model, [batch], fisher="type2", bias="joint", generator=None)
    q, g = gradients(model, make(3, 2, 1)), gradients(model, batch)
    damped = factors.A["all"] / factors.rows + damping * torch.eye(len(factors.A["all"]))
    expected = flatten(q) @ torch.linalg.solve(damped, flatten(g).mT)
    torch.testing.assert_close(ggn.dense_scores(q, [g], factors, [damping])[0], expected, rtol=1e-9, atol=1e-12)


def test_refusals():
    one = {"a": torch.zeros(1, 1, 1)}
    with pytest.raises(StudyError, match="different blocks"):
        scores(one, {"b": torch.zeros(1, 1, 1)}, {"a": torch.ones(1, 1)}, 1.0)
    for damping in (-1.0, float("nan")):
        with pytest.raises(StudyError, match="negative"):
            scores(one, one, {"a": torch.ones(1, 1)}, damping)
    with pytest.raises(StudyError, match="negative"):
        sweep(one, one, {"a": torch.ones(1, 1)}, [{"a": -1.0}])
    with pytest.raises(StudyError, match="8 or 32 bits, not in 4"):
        sweep(one, one, {"a": torch.ones(1, 1)}, [1.0], 4)
    with pytest.raises(StudyError, match="choose model or block"):
        relative({"a": torch.ones(1, 1)}, [1.0], "layer")
