"""Products by convolution equal those of unfolded patches, in every geometry; float32 on a CPU takes them."""

import pytest
import torch
from torch import nn

from attribution.curvature import convolutions, ekfac, kfac
from attribution.curvature.blocks import Block, gram, outer, project, rows_in, rows_out
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Batch, loss_gradient

WEIGHT, BIAS, JOINT = Block(True, False), Block(False, True), Block(True, True)
BLOCKS = pytest.mark.parametrize("block", [WEIGHT, BIAS, JOINT], ids=["weight", "bias", "joint"])
CLOSE = dict(rtol=1e-12, atol=1e-12)
GEOMETRIES = [
    dict(kernel_size=3),
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, stride=2),  # the last row of pixels is in no patch
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, padding=2, dilation=2),
    dict(kernel_size=(3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),  # height and width never interchangeable
    dict(kernel_size=2, padding="same"),  # asymmetric: one column on one side
    dict(kernel_size=3, padding="valid"),
    dict(kernel_size=3, padding=1, padding_mode="circular"),
]


def sides(geometry):
    """(layer with channels 2 -> 5, its input [6, 2, 7, 6], gradients of its output)."""
    layer, x = nn.Conv2d(2, 5, **geometry), torch.randn(6, 2, 7, 6)
    return layer, x, torch.randn_like(layer(x))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@BLOCKS
def test_gradients_of_groups(geometry, block):
    layer, x, b = sides(geometry)
    for groups in (1, 3, 6):
        expected = outer(rows_in(layer, x, groups), rows_out(layer, b, groups), block)
        torch.testing.assert_close(convolutions.outer(layer, x, b, groups, block), expected, **CLOSE)


def test_gradient_of_one_group_of_any_layout():
    # As after attention: channels last. One example's draws are one group; its gradient comes channels last as well.
    layer, x, b = sides(dict(kernel_size=3, padding=1))
    x, b = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, b))
    expected = outer(rows_in(layer, x, 1), rows_out(layer, b, 1), JOINT)
    torch.testing.assert_close(convolutions.outer(layer, x, b, 1, JOINT), expected, **CLOSE)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("block", [WEIGHT, JOINT], ids=["weight", "joint"])
def test_projections(geometry, block):
    layer, x, _ = sides(geometry)
    size = layer.weight[0].numel() + block.ones
    basis = torch.randn(size, size)
    expected = project(rows_in(layer, x, len(x)), basis, block).mT
    torch.testing.assert_close(convolutions.project(layer, x, basis, block), expected, **CLOSE)


@pytest.mark.parametrize("shape", [(7, 6), (3, 3), (2, 5), (1, 4), (1, 1)])
@BLOCKS
def test_gram(shape, block):
    # Without the lost rows, columns or corners, or with those of the other side, entries are off by order 1.
    layer, x = nn.Conv2d(2, 5, 3, padding=1), torch.randn(6, 2, *shape)
    expected = gram(rows_in(layer, x, 1)[0], block)
    torch.testing.assert_close(convolutions.gram(layer, convolutions.line_products(x), block), expected, **CLOSE)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_gram_is_for_one_geometry(geometry):
    layer, x = nn.Conv2d(2, 5, **geometry), torch.zeros(1, 2, 7, 6, dtype=torch.float32)
    assert convolutions.has_gram(layer, x) == (geometry == dict(kernel_size=3, padding=1))
    assert not convolutions.has_gram(layer, x.double())


def test_times():
    G, Q = torch.randn(3, 4, 7), torch.randn(7, 7)
    torch.testing.assert_close(convolutions.times(G, Q), G @ Q, **CLOSE)


def test_what_is_served():
    x = torch.randn(1, 2, 4, 4, dtype=torch.float32)
    assert convolutions.suits(nn.Conv2d(2, 3, 3), x)
    assert not convolutions.suits(nn.Conv2d(2, 3, 1), x)
    assert not convolutions.suits(nn.Linear(4, 3), x)
    assert not convolutions.suits(nn.Conv2d(2, 3, 3), x.double())
    assert not convolutions.suits(nn.Conv2d(2, 3, 3), x.to("meta"))


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_float32_equals_float64(bias):
    """Gradients, factors and eigenvalues of a net with both orders of products: 1e-4 of the largest entry, of 1e-6 an
    operation. A block that takes another's path or shape is off by order 1.
    """
    wide, narrow = nn.Conv2d(2, 70, 3, padding=1), nn.Conv2d(70, 3, 3, stride=2)
    model = nn.Sequential(wide, nn.SiLU(), narrow, nn.Flatten(), nn.Linear(12, 4))
    x, y = torch.randn(12, 2, 6, 6), torch.randn(12, 4)
    options = dict(fisher="empirical", bias=bias, generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [Batch((x,), y, 12, 1)], sharing="expand", **options))

    def everything(dtype):
        rows = Batch((x.to(dtype),), y.to(dtype), 12, 1)
        examples = Batch((x.to(dtype),), y.to(dtype), 4, 3)
        factors = kfac.accumulate(model.to(dtype), [rows], sharing="expand", **options)
        corrected = ekfac.accumulate_eigenvalues(model, [rows], basis, **options)
        return factors.A, factors.B, corrected.sums, example_gradients(model, examples, bias, loss_gradient)

    for double, single in zip(everything(torch.float64), everything(torch.float32), strict=True):
        for name, expected in double.items():
            assert (single[name].double() - expected).abs().max() < 1e-4 * expected.abs().max()
