"""Vectors of parameters: views in the order of the model, and blocks there and back."""

import pytest
import torch

from attribution.curvature.blocks import covered
from attribution.curvature.flat import from_blocks, layout, to_blocks
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import loss_gradient
from attribution.errors import StudyError


def test_columns_are_the_parameters_in_their_order(unet):
    model, _ = unet
    order = layout(model)
    expected = torch.cat([value.detach().flatten() for value in model.parameters()])
    assert order.size == len(expected)
    parts = order.split(expected)
    assert all(torch.equal(parts[name], value) for name, value in model.named_parameters())
    assert torch.equal(order.join({name: part[None] for name, part in parts.items()})[0], expected)


def test_parts_are_views(mlp):
    order = layout(mlp[0])
    vectors = torch.zeros(2, order.size)
    order.split(vectors)["last.bias"][1] = 7
    assert float(vectors.sum()) == 14  # two outputs: a copy would leave 0


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_blocks_hold_the_same_numbers(problem, bias):
    # against autograd, which knows no blocks: an entry of weight and bias exchanged is an error of order 1
    model, make = problem
    batch = make(1, 3, 0)
    ((model(*batch.inputs) - batch.target) ** 2).flatten(1).mean(1).mean().backward()
    order = layout(model, covered(model))
    expected = torch.cat([model.get_parameter(name).grad.flatten() for name in order.shapes])
    found = example_gradients(model, batch, bias, loss_gradient)
    vectors = from_blocks(model, found, bias, order)
    torch.testing.assert_close(vectors, expected[None])
    back = to_blocks(model, vectors, bias, order)
    assert back.keys() == found.keys()
    assert all(torch.equal(back[name], found[name]) for name in found)


def test_refusals(unet):
    model, make = unet
    found = example_gradients(model, make(2, 1, 0), "joint", loss_gradient)
    with pytest.raises(StudyError, match=r"no block holds the parameters \['norm.bias', 'norm.weight'\]"):
        from_blocks(model, found, "joint", layout(model))
    with pytest.raises(StudyError, match="no parameters"):
        layout(model, ["norm.scale"])
    with pytest.raises(StudyError, match="no parameters"):
        layout(model, [])
