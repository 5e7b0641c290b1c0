"""Lengths and mean directions of gradients: rows of a dense Jacobian, each divided by its norm."""

from dataclasses import replace

import pytest
import torch

from attribution.curvature.directions import lengths, mean_directions
from attribution.curvature.gradients import flatten, mean_gradients
from attribution.curvature.rows import loss_gradient

N, E = 3, 4


def rows(model, batch, bias, jacobian):
    """Gradients of the rows' losses, [N, E, P]."""
    error = (model(*batch.inputs).detach() - batch.target).flatten(1)  # [R, D]
    dense = jacobian(model, batch, bias)  # [R, D, P]
    return (2 / error.shape[1] * torch.einsum("rd,rdp->rp", error, dense)).view(N, E, -1)


def cut(batch, width):
    """The same rows in batches of `width` draws."""
    for start in range(0, E, width):
        take = [n * E + e for n in range(N) for e in range(start, start + width)]
        inputs = tuple(x[take] for x in batch.inputs)
        yield replace(batch, inputs=inputs, target=batch.target[take], draws=width, pseudo=None)


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("width", [E, 2, 1])
def test_mean_of_rows_of_length_one(problem, bias, width, jacobian):
    """Scaling the mean, or all rows of an example by one length, is off by a tenth."""
    model, make = problem
    batch = make(N, E, 1)
    batch = replace(batch, target=batch.target * torch.logspace(-1, 1, N * E).view(-1, *[1] * (batch.target.dim() - 1)))
    each = rows(model, batch, bias, jacobian)
    expected = (each / each.norm(dim=2, keepdim=True)).mean(1)
    found = flatten(mean_directions(model, cut(batch, width), bias, loss_gradient))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    plain = each.mean(1)
    assert (expected - plain / plain.norm(dim=1, keepdim=True) * expected.norm(dim=1, keepdim=True)).abs().max() > 0.01


def test_a_row_without_gradient_counts_as_zeros(mlp):
    model, make = mlp
    batch = make(N, E, 1)
    exact = replace(batch, target=batch.target.clone())
    exact.target[E : E + 3] = model(*batch.inputs).detach()[E : E + 3]  # three of the four rows of example 1
    whole, found = (flatten(mean_directions(model, [b], "joint", loss_gradient)) for b in (batch, exact))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]], rtol=0, atol=1e-13)
    torch.testing.assert_close(found[1].norm(), torch.tensor(1 / E), rtol=0, atol=1e-13)


def test_lengths_are_over_all_blocks(problem):
    model, make = problem
    gradients = mean_gradients(model, [make(N, E, 1)], "separate", loss_gradient)
    torch.testing.assert_close(lengths(gradients), flatten(gradients).norm(dim=1), rtol=1e-14, atol=0)
    single = lengths({name: part.float() for name, part in gradients.items()})
    assert single.dtype == torch.float64
