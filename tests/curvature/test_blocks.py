"""Places: sum_k b_k a_k^T over unfolded inputs and output gradients is autograd's weight gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attribution.curvature import blocks
from attribution.curvature.blocks import Block, chunk, covered, gram, layers, outer, project, rows_in, rows_out
from attribution.errors import StudyError

WEIGHT, BIAS, JOINT = Block(True, False), Block(False, True), Block(True, True)

GEOMETRIES = [
    dict(kernel_size=1),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=3),
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, stride=2),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, padding=2, dilation=2),
    dict(kernel_size=(3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),  # height and width never interchangeable
    dict(kernel_size=2, padding="same"),  # asymmetric: one column on one side
    dict(kernel_size=3, padding="valid"),
    dict(kernel_size=3, padding=1, padding_mode="circular"),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_convolution_weight_gradient(geometry, groups):
    # Channels 2 -> 5 and a 7x6 image: a transposed patch or a swapped axis changes shapes or gives errors of order 1.
    layer, x = nn.Conv2d(2, 5, **geometry), torch.randn(6, 2, 7, 6)
    y = layer(x)
    b = torch.randn_like(y)
    places = rows_in(layer, x, groups), rows_out(layer, b, groups)
    found = outer(*places, JOINT)
    assert found.shape == (groups, 5, layer.weight[0].numel() + 1)
    for group, rows in zip(found, torch.arange(6).chunk(groups), strict=True):
        weight, bias = torch.autograd.grad(y[rows], [layer.weight, layer.bias], b[rows], retain_graph=True)
        torch.testing.assert_close(group[:, :-1], weight.flatten(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(group[:, -1], bias, rtol=1e-12, atol=1e-12)


def test_single_rows_equal_unfold():
    layer, x = nn.Conv2d(3, 2, 3, stride=2, padding=1), torch.randn(4, 3, 5, 6)
    assert torch.equal(rows_in(layer, x, 4), F.unfold(x, 3, padding=1, stride=2).mT)


def test_linear_places():
    layer = nn.Linear(4, 3)
    assert rows_in(layer, torch.randn(6, 4), 6).shape == (6, 1, 4)  # a time embedding: one place a row
    assert rows_in(layer, torch.randn(6, 5, 4), 6).shape == (6, 5, 4)  # attention: tokens are places
    assert rows_in(layer, torch.randn(6, 2, 5, 4), 2).shape == (2, 30, 4)
    assert rows_out(layer, torch.randn(6, 5, 3), 2).shape == (2, 15, 3)


@pytest.mark.parametrize("block", [WEIGHT, BIAS, JOINT], ids=["weight", "bias", "joint"])
@pytest.mark.parametrize("inputs", [5, 33, 150])
def test_products_equal_those_of_stored_ones(block, inputs):
    # 33 and 150 are not multiples of the strips of gram: a lost or doubled strip is an error of order 1.
    a, b = torch.randn(2, 7, inputs), torch.randn(2, 7, 4)
    parts = [a] * block.inputs + [torch.ones(2, 7, 1)] * block.ones
    extended = torch.cat(parts, 2)  # [n, K, J]
    Q = torch.randn(extended.shape[2], extended.shape[2])
    close = dict(rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(outer(a, b, block), b.mT @ extended, **close)
    torch.testing.assert_close(gram(a[0], block), extended[0].mT @ extended[0], **close)
    torch.testing.assert_close(project(a, Q, block).expand(2, 7, -1), extended @ Q, **close)


def test_chunks_are_whole_groups(monkeypatch):
    layer, x = nn.Conv2d(2, 5, 3), torch.randn(12, 2, 6, 6)
    monkeypatch.setattr(blocks, "CHUNK", 1)
    assert [chunk(layer, x, groups) for groups in (1, 3, 12)] == [12, 4, 1]
    monkeypatch.setattr(blocks, "CHUNK", 2 * 4 * 2 * 36 * 9)
    assert chunk(layer, x, 3) == 8


def test_names():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.GroupNorm(1, 3), nn.ModuleDict({"conv": nn.Conv2d(1, 1, 1)}))
    assert list(layers(model)) == ["0", "2.conv"]
    assert covered(model) == ["0.weight", "2.conv.weight", "2.conv.bias"]  # the norm's weight and bias are not
    assert [name for named in blocks.blocks(model, "joint").values() for name in named] == ["0", "2.conv"]
    assert covered(nn.Linear(2, 2)) == ["weight", "bias"]


def test_grouped_convolutions_are_left_out():
    assert list(layers(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3)))) == ["1"]


def test_refusals():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(StudyError, match="share one weight"):
        layers(tied)
    with pytest.raises(StudyError, match="no Linear or Conv2d"):
        layers(nn.ReLU())
    with pytest.raises(StudyError, match="choose joint or separate"):
        blocks.blocks(nn.Linear(2, 2), "both")
