"""Influence by every curvature, against dense solves, and the sign that all methods share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attribution.curvature import ekfac as corrections
from attribution.curvature import kfac as factors
from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.inner import inner
from attribution.curvature.kfac import kfac_eigenvalues
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue, sweep
from attribution.errors import StudyError
from attribution.methods.ggn import diagonal, full_ggn, sampled_ggn
from attribution.methods.gradient_similarity import gradient_cosine, gradient_dot
from attribution.methods.kfac import ekfac, kfac
from attribution.methods.trak import score as trak

DAMPINGS = [1e-4, 0.1, 10.0]
N = 30
OPTIONS = dict(fisher="type2", bias="joint", generator=None)


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def fit(model, batch):
    """Basis and corrected eigenvalues from these rows."""
    found = factors.accumulate(model, [batch], sharing="expand", **OPTIONS)
    basis = factors.eigenbasis(found)
    return found, basis, corrections.accumulate_eigenvalues(model, [batch], basis, **OPTIONS)


def gradients(model, x, y):
    return example_gradients(model, Batch((x,), y, len(x), 1), "joint", loss_gradient)


@pytest.fixture
def problem():
    """A net 3 -> 4 -> 2, its training rows, gradients of both sides, and curvature."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(N, 3), torch.randn(N, 2)
    found, basis, corrected = fit(model, Batch((x,), y, N, 1))
    return found, basis, corrected, gradients(model, torch.randn(5, 3), torch.randn(5, 2)), gradients(model, x, y)


def dense(name, found, basis, corrected):
    """The curvature of every block as one matrix [O J, O J], row-major."""
    blocks = {}
    for block in basis.a:
        if name == "kfac":
            blocks[block] = torch.kron(found.B[block], found.A[block]) / found.rows**2
        else:
            Q = torch.kron(basis.QB[block], basis.QA[block])
            blocks[block] = Q @ torch.diag(corrected.sums[block].flatten() / corrected.rows) @ Q.mT
    return blocks


@pytest.mark.parametrize(("name", "method"), [("kfac", kfac), ("ekfac", ekfac)])
def test_equal_to_a_dense_solve(problem, name, method):
    """Damping is the ratio times trace / P over all blocks. The mean by block, or over blocks, the other method's
    eigenvalues, or a damping in absolute units are all off by more than a hundredth.
    """
    found, basis, corrected, q, g = problem
    rotated = corrections.rotate(q, basis), corrections.rotate(g, basis)
    scores = method(*rotated, basis, corrected, {"dampings": DAMPINGS, "unit": "model", "bits": 32})
    assert scores.shape == (3, 5, N)
    curvature = dense(name, found, basis, corrected)
    other = dense("ekfac" if name == "kfac" else "kfac", found, basis, corrected)
    unit = sum(F.trace() for F in curvature.values()) / sum(len(F) for F in curvature.values())

    def solved(curvature, unit, ratio):
        return sum(
            q[block].flatten(1) @ torch.linalg.solve(F + ratio * unit * torch.eye(len(F)), g[block].flatten(1).mT)
            for block, F in curvature.items()
        )

    for layer, ratio in zip(scores, DAMPINGS, strict=True):
        expected = solved(curvature, unit, ratio)
        assert (layer - expected).norm() < 1e-8 * expected.norm()
        assert (solved(curvature, 1.0, ratio) - expected).norm() > 0.01 * expected.norm()
    assert (solved(other, unit, 0.1) - solved(curvature, unit, 0.1)).norm() > 0.01 * solved(curvature, unit, 0.1).norm()


@pytest.mark.parametrize("method", [kfac, ekfac])
def test_unit_and_bits_are_those_of_the_solve(problem, method):
    _, basis, corrected, q, g = problem
    rotated = corrections.rotate(q, basis), corrections.rotate(g, basis)
    values = kfac_eigenvalues(basis) if method is kfac else corrections.mean(corrected)
    by_block = method(*rotated, basis, corrected, {"dampings": [0.1], "unit": "block", "bits": 32})[0]
    expected = sweep(*rotated, values, [{name: 0.1 * float(of_block.mean()) for name, of_block in values.items()}])[0]
    torch.testing.assert_close(by_block, expected, rtol=1e-12, atol=1e-14)
    exact, coded = (
        method(*rotated, basis, corrected, {"dampings": [0.1], "unit": "model", "bits": bits})[0] for bits in (32, 8)
    )
    assert torch.equal(coded, sweep(*rotated, values, [0.1 * mean_eigenvalue(values)], 8)[0])
    assert (exact - coded).norm() > 1e-6 * exact.norm()
    assert (exact - by_block).norm() > 0.01 * exact.norm()


class Tiny(nn.Module):
    """3 -> 4 -> 2 with a name for its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x).tanh())


def hessian_of_outputs(model, x):
    """E_n[J^T (2/D) J] [P, P] by torch.func: D = 2 outputs, parameters in the order of gradients.flatten ("joint")."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def outputs(values, row):
        return torch.func.functional_call(model, values, (row[None],))[0]

    J = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(parameters, x)
    J = torch.cat(
        [torch.cat([J[f"{name}.weight"], J[f"{name}.bias"][..., None]], 3).flatten(2) for name in ("first", "last")], 2
    )

    def squared_error(f):
        return (f**2).mean()

    hessian = torch.func.hessian(squared_error)(torch.zeros(2))
    return torch.einsum("ndp,de,neq->pq", J, hessian, J) / len(x)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("method", [full_ggn, sampled_ggn])
def test_the_whole_ggn_is_the_hessian_of_the_outputs(method, parts):
    """At any damping of the mean eigenvalue, with training gradients in any number of parts.

    A lost 2/D, the sum in place of the mean over rows, or a damping in absolute units is off by more than a hundredth;
    so is the diagonal of the same matrix.
    """
    model = Tiny()
    x, y, xq, yq = torch.randn(N, 3), torch.randn(N, 2), torch.randn(5, 3), torch.randn(5, 2)
    q, g = gradients(model, xq, yq), gradients(model, x, y)
    cut = [{name: G[rows] for name, G in g.items()} for rows in torch.arange(N).chunk(parts)]
    rows = [Batch((x[some],), y[some], len(some), 1) for some in torch.arange(N).split(7)]
    found = method(q, iter(cut), model, iter(rows), "joint", {"fisher": "type2", "dampings": DAMPINGS})
    assert found.shape == (3, 5, N)
    assert found.dtype == torch.float64
    F = hessian_of_outputs(model, x)
    unit = float(F.trace()) / len(F)
    alone = diagonal(q, iter(cut), model, iter(rows), "joint", {"fisher": "type2", "dampings": DAMPINGS})
    for layer, only_diagonal, ratio in zip(found, alone, DAMPINGS, strict=True):
        damped = F + ratio * unit * torch.eye(len(F))
        expected = flatten(q) @ torch.linalg.solve(damped, flatten(g).mT)
        assert (layer - expected).norm() < 1e-8 * expected.norm()
        other = flatten(q) @ torch.linalg.solve(2 * F + ratio * unit * torch.eye(len(F)), flatten(g).mT)
        assert (other - expected).norm() > 0.01 * expected.norm()
        of_diagonal = flatten(q) / damped.diagonal() @ flatten(g).mT
        torch.testing.assert_close(only_diagonal, of_diagonal, rtol=1e-9, atol=1e-9 * float(of_diagonal.abs().max()))
        assert (only_diagonal - expected).norm() > 0.01 * expected.norm()


@pytest.mark.parametrize("fisher", ["mc", "empirical"])
def test_sampled_rows_give_one_curvature_to_both_solvers(fisher):
    """The P x P matrix and Woodbury's identity, from the same rows; other rows are another curvature."""
    model = Tiny()
    x, y = torch.randn(N, 3), torch.randn(N, 2)
    g = gradients(model, x, y)
    rows = Batch((x,), y, N, 1, torch.randn(N, 2))
    dense, sampled = (
        method(g, [g], model, [rows], "joint", {"fisher": fisher, "dampings": DAMPINGS})
        for method in (full_ggn, sampled_ggn)
    )
    assert (dense - sampled).norm() < 1e-8 * dense.norm()
    other = full_ggn(
        g, [g], model, [replace(rows, pseudo=torch.randn(N, 2))], "joint", {"fisher": fisher, "dampings": DAMPINGS}
    )
    assert (torch.equal(other, dense)) == (fisher == "empirical")


def test_the_whole_ggn_refuses_a_large_model():
    model, x = nn.Linear(100, 100), torch.randn(2, 100)
    g = gradients(model, x, x)
    with pytest.raises(StudyError, match="10100 parameters is too large .at most 8192.: use ekfac"):
        full_ggn(g, [g], model, [Batch((x,), x, 2, 1)], "joint", {"fisher": "type2", "dampings": [0.1]})


@pytest.mark.parametrize("method", [kfac, ekfac])
def test_large_damping_is_the_inner_product(problem, method):
    _, basis, corrected, q, g = problem
    rotated = corrections.rotate(q, basis), corrections.rotate(g, basis)
    scores = method(*rotated, basis, corrected, {"dampings": [1e10], "unit": "model", "bits": 32})[0]
    dot = gradient_dot({"query_train": inner(q, g).numpy()}, {})[0]
    unit = mean_eigenvalue(kfac_eigenvalues(basis) if method is kfac else corrections.mean(corrected))
    # The eigenvalues are a part of 1e-10 times the largest over their mean, below 1e-8; another unit is off by order 1.
    np.testing.assert_allclose(1e10 * unit * scores.numpy(), dot, rtol=1e-7, atol=1e-9)


def gram(q, g):
    return {
        "query_train": inner(q, g).numpy(),
        "train_train": inner(g, g).numpy(),
        "query_norm": flatten(q).square().sum(1).numpy(),
        "train_norm": flatten(g).square().sum(1).numpy(),
    }


def trained(x, y):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", ["gradient_dot", "gradient_cosine", "trak", "kfac", "ekfac"])
def test_an_example_asked_about_itself_scores_highest(name):
    """Larger means that removing hurts more: with the sign turned, all own scores would be negative.

    Scores of the examples with themselves are a symmetric matrix without negative eigenvalues, s_ij^2 <= s_ii s_jj, so
    the example with the largest own score ranks itself first; of the others (no theorem) most do, by chance 0.03.
    """
    x = torch.randn(N, 3)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], 1) + 0.3 * torch.randn(N, 2)
    model = trained(x, y)
    g = gradients(model, x, y)
    if name in ("kfac", "ekfac"):
        _, basis, corrected = fit(model, Batch((x,), y, N, 1))
        rotated = corrections.rotate(g, basis)
        method = {"kfac": kfac, "ekfac": ekfac}[name]
        scores = method(rotated, rotated, basis, corrected, {"dampings": [0.1], "unit": "model", "bits": 32})[0].numpy()
    else:
        method = {"gradient_dot": gradient_dot, "gradient_cosine": gradient_cosine, "trak": trak}[name]
        scores = method(gram(g, g), {"dampings": [0.1]})[0]
    own = scores.diagonal()
    assert (own > 0).all()
    np.testing.assert_allclose(scores, scores.T, rtol=1e-8, atol=1e-8 * own.max())
    assert (scores**2 <= np.outer(own, own) * (1 + 1e-9)).all()
    assert scores[own.argmax()].argmax() == own.argmax()
    assert (scores.argmax(1) == np.arange(N)).mean() > 0.5
    assert scores.diagonal().mean() > 3 * np.abs(scores[~np.eye(N, dtype=bool)]).mean()


def test_the_sign_is_that_of_retraining():
    """Leave each example out, train on from the optimum, and measure the query: the scores predict the change."""
    x, query = torch.randn(N, 3), torch.randn(1, 3)
    truth = torch.randn(3, 2)
    y = x @ truth + 0.5 * torch.randn(N, 2)
    target = query @ truth + 0.5

    def fitted(keep):
        ones = torch.cat([x[keep], torch.ones(len(keep), 1)], 1)
        theta = torch.linalg.lstsq(ones, y[keep]).solution.mT
        model = nn.Linear(3, 2)
        model.weight.data, model.bias.data = theta[:, :3].contiguous(), theta[:, 3].contiguous()
        return model

    def loss(model):
        return ((model(query) - target) ** 2).mean().item()

    full = fitted(list(range(N)))
    hurt = np.array([loss(fitted([i for i in range(N) if i != n])) - loss(full) for n in range(N)])
    q, g = gradients(full, query, target), gradients(full, x, y)
    _, basis, corrected = fit(full, Batch((x,), y, N, 1))
    rotated = corrections.rotate(q, basis), corrections.rotate(g, basis)
    scores = {
        "gradient_dot": gradient_dot(gram(q, g), {})[0, 0],
        "gradient_cosine": gradient_cosine(gram(q, g), {})[0, 0],
        "trak": trak(gram(q, g), {"dampings": [0.1]})[0, 0],
        "kfac": kfac(*rotated, basis, corrected, {"dampings": [1e-4], "unit": "model", "bits": 32})[0, 0].numpy(),
        "ekfac": ekfac(*rotated, basis, corrected, {"dampings": [1e-4], "unit": "model", "bits": 32})[0, 0].numpy(),
    }
    rows = [Batch((x,), y, N, 1)]
    for method in (diagonal, sampled_ggn, full_ggn):
        found = method(q, [g], full, rows, "joint", {"fisher": "type2", "dampings": [1e-4]})
        scores[method.__name__.rpartition(".")[2]] = found[0, 0].numpy()
    correlation = {name: np.corrcoef(value, hurt)[0, 1] for name, value in scores.items()}
    assert all(value > 0.5 for value in correlation.values()), correlation
    for name in ("kfac", "sampled_ggn", "full_ggn"):  # one layer, type-2: the curvature is exact
        assert correlation[name] > 0.99
