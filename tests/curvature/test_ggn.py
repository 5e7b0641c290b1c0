"""The exact curvature: equal to the Hessian where the model is linear in its parameters, to 2/D J^T J everywhere."""

import pytest
import torch
from torch import nn

from attribution.curvature import ggn
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.rows import Batch, fisher_vectors, loss_gradient
from attribution.errors import StudyError


def exact(model, batch, bias="joint", fisher="type2", generator=None):
    """F [P, P] over the rows of one batch."""
    factors = ggn.accumulate(model, [batch], fisher=fisher, bias=bias, generator=generator)
    return factors.A["all"] / factors.rows


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_equal_to_the_hessian_of_a_linear_model():
    # The GGN drops the second derivative of the model, which is zero here. A lost 2/D or 1/R is an error of order 1.
    model = nn.Linear(3, 2)
    x, y = torch.randn(7, 3), torch.randn(7, 2)

    def loss(parameters):  # [out, in + 1]
        return ((x @ parameters[:, :-1].mT + parameters[:, -1] - y) ** 2).mean()

    theta = torch.cat([model.weight, model.bias[:, None]], 1).detach()
    hessian = torch.func.hessian(loss)(theta).reshape(8, 8)
    assert error(exact(model, Batch((x,), y, 7, 1)), hessian) < 1e-12


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_equal_to_the_explicit_jacobian(problem, jacobian, bias):
    model, make = problem
    batch = make(3, 2, 0)
    J = jacobian(model, batch, bias)  # [R, D, P]
    assert error(exact(model, batch, bias), 2 / J.shape[1] * torch.einsum("rdp,rdq->pq", J, J) / 6) < 1e-12


def test_targets_do_not_enter(problem):
    model, make = problem
    batch = make(3, 2, 0)
    other = Batch(batch.inputs, torch.randn_like(batch.target), 3, 2, batch.pseudo)
    assert torch.equal(exact(model, batch), exact(model, other))
    assert torch.equal(exact(model, batch, fisher="mc"), exact(model, other, fisher="mc"))
    assert error(exact(model, batch, fisher="empirical"), exact(model, other, fisher="empirical")) > 0.1


def test_empirical_fisher_is_the_mean_outer_product_of_row_gradients(problem):
    model, make = problem
    batch = make(6, 1, 0)
    g = flatten(example_gradients(model, batch, "joint", loss_gradient))
    assert error(exact(model, batch, fisher="empirical"), g.mT @ g / 6) < 1e-12


def test_monte_carlo_scale(mlp):
    # 3 rows x 20,000 pseudo-targets: standard error about 1%; a variance of D in place of D/2 scores an error of 1.
    model, make = mlp
    few = make(3, 1, 0)
    many = Batch((few.inputs[0].repeat(20_000, 1),), few.target.repeat(20_000, 1), 60_000, 1)
    expected = exact(model, few)
    found = exact(model, many, fisher="mc", generator=torch.Generator().manual_seed(0))
    assert error(found, expected) < 0.03
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02 * float(expected.diagonal().max()))
    generator = torch.Generator().manual_seed(0)
    doubled = torch.randn(60_000, 2, generator=generator) * 2**0.5
    wrong = exact(model, Batch(many.inputs, many.target, 60_000, 1, doubled), fisher="mc")
    assert float(wrong.trace() / expected.trace()) == pytest.approx(2, rel=0.03)
    assert error(wrong, 2 * found) < 1e-12


def test_monte_carlo_vectors_are_gradients_at_targets_of_variance_half_d(mlp):
    model, make = mlp
    batch = make(4, 1, 0)
    output = model(*batch.inputs).detach()
    (u,) = fisher_vectors("mc", output, batch, None)
    sampled = output - batch.pseudo * (output[0].numel() / 2) ** 0.5
    torch.testing.assert_close(u, loss_gradient(output, Batch(batch.inputs, sampled, 4, 1)))


def test_type2_vectors_have_covariance_two_over_d(unet):
    model, make = unet
    output = model(*make(2, 1, 0).inputs)
    u = torch.stack([v.flatten(1) for v in fisher_vectors("type2", output, make(2, 1, 0), None)])  # [D, R, D]
    for row in u.unbind(1):
        torch.testing.assert_close(row.mT @ row, torch.eye(8) * 2 / 8)


def test_keyed_pseudo_targets_make_batching_irrelevant(mlp):
    model, make = mlp
    batch = make(5, 1, 0)
    parts = [
        Batch((batch.inputs[0][cut],), batch.target[cut], n, 1, batch.pseudo[cut])
        for cut, n in [(slice(0, 3), 3), (slice(3, 5), 2)]
    ]
    found = ggn.accumulate(model, parts, fisher="mc", bias="joint", generator=None)
    assert error(found.A["all"] / found.rows, exact(model, batch, fisher="mc")) < 1e-12


def test_single_precision_gradients_are_summed_in_double(mlp, monkeypatch):
    """Exact for the numbers that the float32 gradients hold; their own product in float32 is not. Any cut of rows."""
    model, make = mlp
    batch = make(30, 1, 0)
    single = Batch((batch.inputs[0].float(),), batch.target.float(), 30, 1)
    g = flatten(example_gradients(model.float(), single, "joint", loss_gradient))
    assert g.dtype == torch.float32
    monkeypatch.setattr(ggn, "ROWS", 7)
    found, expected = exact(model, single, fisher="empirical"), g.double().mT @ g.double() / 30
    assert error(found, expected) < 1e-14
    assert error((g.mT @ g).double() / 30, expected) > 1e-9


def test_refusals(mlp):
    model, make = mlp
    batch = make(2, 1, 0)
    with pytest.raises(StudyError, match="give one of them"):
        exact(model, batch, fisher="mc", generator=torch.Generator())
    with pytest.raises(StudyError, match="give one of them"):
        exact(model, Batch(batch.inputs, batch.target, 2, 1), fisher="mc")
    with pytest.raises(StudyError, match="choose mc, type2 or empirical"):
        exact(model, batch, fisher="true")
    with pytest.raises(StudyError, match="too large"):
        exact(nn.Linear(100, 100), Batch((torch.zeros(1, 100),), torch.zeros(1, 100), 1, 1))
    with pytest.raises(StudyError, match="no rows"):
        ggn.accumulate(model, [], fisher="type2", bias="joint", generator=None)
