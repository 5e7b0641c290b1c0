"""Hooks: what a layer saw, in models that freeze, overwrite, skip or repeat layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attribution.curvature.capture import backward, forward
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError


class Calls(nn.Module):
    """Two layers and a free way of calling them."""

    def __init__(self, call) -> None:
        super().__init__()
        self.a, self.b, self.call = nn.Linear(3, 3), nn.Linear(3, 3), call

    def forward(self, x):
        return self.call(self, x)


def batch(rows: int = 4) -> Batch:
    return Batch((torch.randn(rows, 3),), torch.randn(rows, 3), rows, 1)


def plain(model: nn.Module, rows: Batch) -> list[torch.Tensor]:
    """Weight gradients of the mean loss by autograd."""
    loss = ((model(*rows.inputs) - rows.target) ** 2).mean()
    return torch.autograd.grad(loss, [model.a.weight, model.b.weight])


WAYS = {
    "in-place activation": lambda m, x: m.b(F.relu_(m.a(x))),
    "in-place on a view": lambda m, x: m.b(m.a(x).view(-1, 3).mul_(2.0)),
    "keyword": lambda m, x: m.b(input=F.silu(m.a(x))),
    "residual": lambda m, x: x + m.a(x) + m.b(F.silu(x)),
}


@pytest.mark.parametrize("way", WAYS)
def test_gradient_of_every_way_of_calling(way):
    # Hooks that keep the output tensor score the gradient behind the in-place activation: error of order 1.
    model, rows = Calls(WAYS[way]), batch()
    found = example_gradients(model, rows, "separate", loss_gradient)
    for name, expected in zip(("a.weight", "b.weight"), plain(model, rows), strict=True):
        torch.testing.assert_close(found[name].mean(0), expected, rtol=1e-12, atol=1e-14)


def test_frozen_parameters_change_nothing():
    model, rows = Calls(WAYS["keyword"]), batch()
    expected = example_gradients(model, rows, "joint", loss_gradient)
    found = example_gradients(model.requires_grad_(False), rows, "joint", loss_gradient)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with torch.no_grad():
        found = example_gradients(model, rows, "joint", loss_gradient)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_nothing_is_left_behind():
    model, rows = Calls(WAYS["keyword"]), batch()
    output, sites = forward(model, rows)
    backward(output, sites, torch.ones_like(output), retain=False)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_without_effect_has_zero_gradient():
    model, rows = Calls(lambda m, x: (m.b(x), m.a(x))[1]), batch()
    assert not example_gradients(model, rows, "joint", loss_gradient)["b"].any()


REFUSED = {
    "called twice": lambda m, x: m.b(m.a(m.a(x))),
    "not called": lambda m, x: m.a(x),
    "overwritten": lambda m, x: m.a(y := x * 1.0) + m.b(x) + y.mul_(2.0),
    "sees 2 rows": lambda m, x: m.b(m.a(x[:2])).repeat(2, 1),
    r"output is \[4, 2\]": lambda m, x: m.b(m.a(x))[:, :2],
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_ways_of_calling(message):
    with pytest.raises(StudyError, match=message):
        example_gradients(Calls(REFUSED[message]), batch(), "joint", loss_gradient)


def test_rows_are_examples_times_draws():
    with pytest.raises(StudyError, match="2 examples x 3 draws"):
        Batch((torch.zeros(6, 1),), torch.zeros(5, 1), 2, 3)
