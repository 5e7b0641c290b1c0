"""What scores predict: the derivative of a measurement in one example's weight, measured here by solving again.

The objective is (1/N) sum_n l_n - eps l_j; eps = 1/N removes example j, and d m / d eps is the score.
"""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from attribution.curvature import ekfac, ggn, kfac
from attribution.curvature.blocks import covered
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import scores

IN, OUT = 4, 2


def fitted(x, y, weights, ridge):
    """The [OUT, IN + 1] minimiser of sum_n w_n mean_d (f - y)^2 + ridge / 2 |theta|^2, and its Linear."""
    ones = torch.cat([x, torch.ones(len(x), 1)], 1)
    left = 2 / OUT * ones.mT @ (weights[:, None] * ones) + ridge * torch.eye(IN + 1)
    theta = torch.linalg.solve(left, 2 / OUT * ones.mT @ (weights[:, None] * y)).mT
    model = nn.Linear(IN, OUT)
    model.weight.data, model.bias.data = theta[:, :-1].contiguous(), theta[:, -1].contiguous()
    return model


def losses(model, x, y):
    return ((model(x) - y) ** 2).mean(1).detach()


def regression(examples, queries=3):
    truth = torch.randn(IN, OUT)
    x, xq = torch.randn(examples, IN), torch.randn(queries, IN)
    return x, x @ truth + torch.randn(examples, OUT), xq, xq @ truth + torch.randn(queries, OUT)


def predicted(model, x, y, xq, yq, damping, curvature, sign=1.0):
    """[Q, N] scores with K-FAC, EK-FAC or the exact GGN; the measurement is sign x the loss of a query."""
    train = Batch((x,), y, len(x), 1)
    g = example_gradients(model, train, "joint", loss_gradient)
    q = example_gradients(model, Batch((xq,), yq, len(xq), 1), "joint", lambda f, b: sign * loss_gradient(f, b))
    if curvature == "exact":
        factors = ggn.accumulate(model, [train], fisher="type2", bias="joint", generator=None)
        return ggn.dense_scores(q, [g], factors, [damping])[0]
    options = dict(fisher="type2", bias="joint", generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [train], sharing="expand", **options))
    eigenvalues = kfac.kfac_eigenvalues(basis)
    if curvature == "ekfac":
        eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, [train], basis, **options))
    return scores(ekfac.rotate(q, basis), ekfac.rotate(g, basis), eigenvalues, damping)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("curvature", ["kfac", "ekfac", "exact"])
def test_derivative_in_an_example_weight(curvature, ridge):
    """Least squares is linear in its parameters: scores at damping = ridge are derivatives, not approximations.

    Central differences at 1e-5 leave about 1e-9. A score without the damping, or a stray 1/N or 2, is off by order 1.
    """
    x, y, xq, yq = regression(20)
    weights = torch.full((20,), 1 / 20)
    found = predicted(fitted(x, y, weights, ridge), x, y, xq, yq, ridge, curvature)
    for j in (0, 7):
        step = torch.zeros(20)
        step[j] = 1e-5
        more, less = (losses(fitted(x, y, w, ridge), xq, yq) for w in (weights - step, weights + step))
        torch.testing.assert_close(found[:, j], (more - less) / 2e-5, rtol=1e-6, atol=1e-8)


def test_leaving_one_out():
    # Scores / N predict the true change up to the leverage h of an example, about 5/500, and second order in the query.
    x, y, xq, yq = regression(500)
    weights = torch.full((500,), 1 / 500)
    model = fitted(x, y, weights, 0.0)
    found = predicted(model, x, y, xq, yq, 0.0, "kfac") / 500
    ones = torch.cat([x, torch.ones(500, 1)], 1)
    leverage = (ones @ torch.linalg.inv(ones.mT @ ones) * ones).sum(1)
    changes = []
    for j in range(500):
        without = weights.clone()
        without[j] = 0
        left = fitted(x, y, without, 0.0)
        residual = (left(x[j : j + 1]) - y[j])[0]
        torch.testing.assert_close(residual, (model(x[j : j + 1]) - y[j])[0] / (1 - leverage[j]), rtol=1e-9, atol=1e-11)
        changes.append(losses(left, xq, yq) - losses(model, xq, yq))
    actual = torch.stack(changes, 1)
    assert (found - actual).norm() < 0.05 * actual.norm()
    assert torch.corrcoef(torch.stack([found.flatten(), actual.flatten()]))[0, 1] > 0.999


def test_sign():
    """A twin of the query holds its loss down: removing it hurts (positive score). A log-likelihood turns the sign."""
    x, y, xq, yq = regression(30, 1)
    x[0], y[0] = xq[0], yq[0] + 0.01
    model = fitted(x, y, torch.full((30,), 1 / 30), 0.0)
    found = predicted(model, x, y, xq, yq, 0.0, "kfac")[0]
    assert found[0] > 0
    without = fitted(x[1:], y[1:], torch.full((29,), 1 / 29), 0.0)
    assert losses(without, xq, yq) > losses(model, xq, yq)
    torch.testing.assert_close(predicted(model, x, y, xq, yq, 0.0, "kfac", sign=-1.0)[0], -found)


def test_group_sums_predict_removals():
    x, y, xq, yq = regression(200, 2)
    model = fitted(x, y, torch.full((200,), 1 / 200), 0.0)
    found, actual, gone = predicted(model, x, y, xq, yq, 0.0, "exact"), [], []
    for _ in range(40):
        keep = torch.ones(200)
        keep[torch.randperm(200)[:20]] = 0
        actual.append(losses(fitted(x, y, keep / keep.sum(), 0.0), xq, yq))
        gone.append(found @ (1 - keep))
    for query in range(2):  # a tenth removed: nearly first order
        assert spearmanr(torch.stack(gone)[:, query], torch.stack(actual)[:, query]).statistic > 0.95


def test_self_influence():
    x, y, _, _ = regression(15)
    model = nn.Sequential(nn.Linear(IN, 3), nn.Tanh(), nn.Linear(3, OUT))
    for curvature in ("kfac", "ekfac", "exact"):
        found = predicted(model, x, y, x, y, 1e-3, curvature)
        torch.testing.assert_close(found, found.mT, rtol=1e-9, atol=1e-12)
        assert (found.diagonal() > 0).all()
        assert torch.linalg.eigvalsh(found).min() > -1e-9 * float(found.diagonal().max())


def test_proximal_response_of_a_trained_network():
    """Damping is a proximal term: re-optimise, with the network linearised at theta, by torch.func alone.

    Phi(theta') = 1/N sum_n mean_d (f_lin - f)^2 + damping/2 |theta' - theta|^2 - eps mean_d (f_lin(x_j) - y_j)^2 is
    quadratic in theta': one Newton step. Its response is the score with the exact GGN; m is the network's own loss.
    """
    x, y, xq, yq = regression(20, 5)
    model = nn.Sequential(nn.Linear(IN, 3), nn.Tanh(), nn.Linear(3, OUT))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        optimiser.zero_grad()
        losses_now = ((model(x) - y) ** 2).mean()
        losses_now.backward()
        optimiser.step()
    names, sizes = covered(model), [model.get_parameter(name).numel() for name in covered(model)]
    theta = torch.cat([model.get_parameter(name).detach().flatten() for name in names])

    def network(vector, inputs):
        parts = zip(names, vector.split(sizes), strict=True)
        values = {name: part.view_as(model.get_parameter(name)) for name, part in parts}
        return torch.func.functional_call(model, values, (inputs,))

    J = torch.func.jacrev(lambda vector: network(vector, x))(theta)  # [N, OUT, P]
    at, damping = network(theta, x), 0.1

    def objective(delta, j, eps):
        moved = J @ delta  # [N, OUT]
        return (moved**2).mean() + damping / 2 * delta.square().sum() - eps * ((at[j] + moved[j] - y[j]) ** 2).mean()

    def response(j, eps):
        zero = torch.zeros_like(theta)
        gradient = torch.func.grad(objective)(zero, j, eps)
        delta = -torch.linalg.solve(torch.func.hessian(objective)(zero, j, eps), gradient)
        return ((network(theta + delta, xq) - yq) ** 2).mean(1)

    def change(eps):  # of every query's loss, a unit of weight
        return torch.stack([(response(j, eps) - response(j, 0.0)) / eps for j in range(20)], 1)

    derivative = (change(1e-6) + change(-1e-6)) / 2
    found = predicted(model, x, y, xq, yq, damping, "exact")
    assert spearmanr(found.flatten(), derivative.flatten()).statistic > 0.9999
    torch.testing.assert_close(found, derivative, rtol=1e-5, atol=1e-6 * float(found.abs().max()))
    # Finite weights differ in first order: ten times the weight, ten times the error. The error of a wrong score stays.
    far, near = (float((change(eps) - found).norm()) for eps in (1e-2, 1e-3))
    assert far / near == pytest.approx(10, rel=0.2)
    dot = (
        flatten(example_gradients(model, Batch((xq,), yq, 5, 1), "joint", loss_gradient))
        @ flatten(example_gradients(model, Batch((x,), y, 20, 1), "joint", loss_gradient)).mT
    )
    assert (dot / damping - derivative).norm() > 0.5 * derivative.norm()  # without curvature
