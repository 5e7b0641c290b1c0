"""The metrics of an iteration: AdamW's from minibatches, and EK-FAC's where it is exact."""

import pytest
import torch
from torch import nn

from attribution.curvature import ekfac, ggn, kfac
from attribution.curvature.flat import layout, to_blocks
from attribution.curvature.gradients import flatten
from attribution.curvature.metrics import by_ekfac, by_moments, divided, second_moments
from attribution.curvature.rows import Batch
from attribution.errors import StudyError


def test_second_moments_are_mean_squares_of_minibatch_gradients(problem):
    # float64; squares of rows' gradients in place of the batch's would be larger by about the rows.
    model, make = problem
    batches = [make(5, 1, seed) for seed in range(3)]
    squares = []
    for batch in batches:
        model.zero_grad()
        ((model(*batch.inputs) - batch.target) ** 2).mean().backward()
        squares.append(torch.cat([value.grad.flatten() for value in model.parameters()]) ** 2)
    found = second_moments(model, layout(model), batches)
    torch.testing.assert_close(found, sum(squares) / 3, rtol=1e-10, atol=1e-16)
    with pytest.raises(StudyError, match="at least one batch"):
        second_moments(model, layout(model), [])


def test_the_metric_of_moments_is_adamws():
    v = torch.tensor([0.0, 4.0, 9.0])
    metric, x = by_moments(v), torch.ones(2, 3)
    torch.testing.assert_close(metric.times(x)[1], torch.tensor([1e-8, 2 + 1e-8, 3 + 1e-8]))
    torch.testing.assert_close(divided(metric, metric.times(x)), x)
    for wrong in (torch.tensor([-1.0]), torch.tensor([torch.nan]), torch.tensor([torch.inf])):
        with pytest.raises(StudyError, match="negative or not finite"):
            by_moments(wrong)


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_ekfac_is_the_matrix_itself_where_it_is_exact(bias):
    # One Linear and type-2 vectors: P = G + damping I, for separate biases but for the products with them.
    model, damping = nn.Linear(3, 2), 0.3
    batch = Batch((torch.randn(40, 3),), torch.randn(40, 2), 40, 1)
    options = dict(fisher="type2", bias=bias, generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [batch], sharing="expand", **options))
    eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, [batch], basis, **options))
    order = layout(model)
    metric = by_ekfac(model, order, bias, basis, eigenvalues, damping)
    x = torch.randn(4, order.size)
    blocks = to_blocks(model, x, bias, order)
    G = ggn.accumulate(model, [batch], **options).A["all"] / 40
    if bias == "separate":  # blocks in the order of their names: bias [2], weight [6]
        G[:2, 2:], G[2:, :2] = 0, 0
    expected = flatten(blocks) @ (G + damping * torch.eye(8))
    torch.testing.assert_close(flatten(to_blocks(model, metric.times(x), bias, order)), expected)
    torch.testing.assert_close(divided(metric, metric.times(x)), x)
    with pytest.raises(StudyError, match="damping above 0"):
        by_ekfac(model, order, bias, basis, eigenvalues, 0.0)
