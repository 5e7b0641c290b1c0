"""DAS against dense linear algebra: explicit Jacobians by autograd, an explicit inverse without each example."""

import numpy as np
import pytest
import torch
from torch import nn

from attribution.curvature.gradients import example_gradients
from attribution.curvature.inner import inner
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError
from attribution.methods.trak import das, score

N, Q, T, D = 9, 4, 3, 2  # training examples, queries, draws of each, output dims
DAMPINGS = [0.01, 1.0]


@pytest.fixture(scope="module")
def problem():
    """(loss gradients [N, P], output Jacobians [Q, T, D, P], the gram of DAS) of a 3-4-2 network in float64.

    Jacobians and gradients are autograd's; the gram is of this project's gradients. Its output vectors u are the unit
    vectors: their mean of <u, v>^2 is the mean of v_d^2 exactly.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, D)).double()
    x, target = torch.randn(N * T, 3).double(), torch.randn(N * T, D).double()
    queries = torch.randn(Q, T, 3).double()

    def row(value):
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(value, tuple(model.parameters()), retain_graph=True)]
        )

    losses = ((model(x) - target) ** 2).mean(1).unflatten(0, (N, T)).mean(1)
    phi = torch.stack([row(loss) for loss in losses])
    outputs = model(queries)
    J = torch.stack([torch.stack([torch.stack([row(v) for v in draw]) for draw in query]) for query in outputs])

    train = example_gradients(model, Batch((x,), target, N, T), "joint", loss_gradient)
    basis = torch.eye(D).double().repeat(Q * T, 1)
    rows = Batch((queries.flatten(0, 1).repeat_interleave(D, 0),), basis, Q * T * D, 1)
    output = example_gradients(model, rows, "joint", lambda output, batch: batch.target)
    gram = {"query_train": inner(output, train).numpy(), "train_train": inner(train, train).numpy()}
    return phi.numpy(), J.numpy(), gram | {"draws": np.array(T * D)}


def expected(phi, J, damping, *, without):
    """[Q, N]: E over draws and mean over output dims of (J_q Delta_n)^2, with n in the kernel or without it."""
    scores = np.zeros((Q, N))
    ridge = damping * (phi**2).sum(1).mean() * np.eye(phi.shape[1])
    for n in range(N):
        others = np.delete(phi, n, 0) if without else phi
        delta = np.linalg.inv(others.T @ others + ridge) @ phi[n]
        for q in range(Q):
            scores[q, n] = np.mean([(J[q, t] @ delta) ** 2 for t in range(T)])
    return scores


def test_the_output_moves_by_the_newton_step_without_the_example(problem):
    """1e-9. The kernel with n in it is off by a third at the small damping; a mean before the square by more."""
    phi, J, gram = problem
    found = das(gram, {"dampings": DAMPINGS})
    assert found.shape == (2, Q, N)
    for layer, damping in zip(found, DAMPINGS, strict=True):
        np.testing.assert_allclose(layer, expected(phi, J, damping, without=True), rtol=1e-9)
    held = expected(phi, J, DAMPINGS[0], without=False)
    assert np.abs(found[0] - held).max() > 0.3 * held.max()
    before = score(gram, {"dampings": DAMPINGS})[0].reshape(Q, -1, N).mean(1) ** 2
    assert np.abs(found[0] - before).max() > 0.3 * np.abs(found[0]).max()


def test_removal_from_a_linear_model_moves_outputs_by_its_score():
    """Retraining without each example, of a linear model with a ridge: exact, as every residual is 1 and Phi is -X.

    theta minimises |X theta - y|^2 / 2 + ridge |theta|^2 / 2 - b . theta, with b such that theta is what we like.
    """
    generator = np.random.default_rng(0)
    X, queries, ridge = generator.normal(size=(8, 3)), generator.normal(size=(5, 3)), 0.7
    theta = generator.normal(size=3)
    y = X @ theta + 1
    b = X.T @ (X @ theta - y) + ridge * theta
    moved = []
    for n in range(8):
        rest = np.delete(np.arange(8), n)
        again = np.linalg.solve(X[rest].T @ X[rest] + ridge * np.eye(3), X[rest].T @ y[rest] + b)
        moved.append((queries @ (again - theta)) ** 2)
    gram = {"query_train": queries @ X.T, "train_train": X @ X.T, "draws": np.array(1)}
    found = das(gram, {"dampings": [ridge / (X**2).sum(1).mean()]})[0]
    np.testing.assert_allclose(found, np.stack(moved, 1), rtol=1e-8)


def test_scores_are_sizes(problem):
    """No sign, of a query's output vectors nor of an example's gradient."""
    _, _, gram = problem
    found = das(gram, {"dampings": DAMPINGS})
    assert (found >= 0).all()
    turned = gram | {"query_train": -gram["query_train"]}
    np.testing.assert_allclose(das(turned, {"dampings": DAMPINGS}), found, rtol=1e-12)


def test_random_output_vectors_estimate_the_mean_square(problem):
    """Rows J^T u with u ~ N(0, I / D), of a mean over 20,000 of them; u ~ N(0, I) would be D times as much."""
    phi, J, gram = problem
    draws = 20_000
    generator = np.random.default_rng(0)
    u = generator.normal(size=(Q, draws, D)) / D**0.5
    t = generator.integers(0, T, size=(Q, draws))
    rows = np.einsum("qed,qedp->qep", u, J[np.arange(Q)[:, None], t]).reshape(Q * draws, -1)
    held = {"query_train": rows @ phi.T, "train_train": phi @ phi.T, "draws": np.array(draws)}
    np.testing.assert_allclose(das(held, {"dampings": [1.0]}), das(gram, {"dampings": [1.0]}), rtol=0.1)


def test_rows_that_are_not_draws_of_queries(problem):
    _, _, gram = problem
    with pytest.raises(StudyError, match="24 rows, which are not 5 a query"):
        das(gram | {"draws": np.array(5)}, {"dampings": DAMPINGS})
