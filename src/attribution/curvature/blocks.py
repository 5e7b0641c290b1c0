"""Blocks: the matrices of parameters that have gradients and curvature here, and the products that both are made of.

The gradient of a weight is a sum of outer products, G = sum_k b_k a_k^T, over the places k where the weight was used: a
is the layer's input there, b the gradient of its output. Places are the positions of a row (pixels of a convolution,
where a is an unfolded patch; tokens of attention; one for a plain Linear), of one row or of a group of rows.

Covered are nn.Linear and nn.Conv2d without groups; other parameters (norms) belong to no block, on either side of a
score. A block is one matrix [O, J] flattened row-major, with its curvature B (x) A:
    bias "joint"     one block a layer, named as the layer: [weight, bias], J = I + 1, inputs (a, 1)
    bias "separate"  a block "<layer>.weight" [O, I] with inputs a, and a block "<layer>.bias" [O, 1] with input 1
Source: Martens & Grosse 2015 (homogeneous column), Grosse & Martens 2016 (patches), Eschenhagen et al. 2023 (weight
sharing), Mlodozeniec et al. 2025 (coverage, separate biases). The column of ones is never stored.

Shape letters: R rows, L positions a row, n groups of R/n successive rows, K = L R/n places a group, I inputs and O
outputs of a layer, J columns of a block.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attribution.errors import StudyError

Bias = Literal["joint", "separate"]
CHUNK = 1 << 19  # numbers in the arrays of one chunk of unfolded rows: what a cache holds, and a bound on memory
CHUNK_CUDA = 1 << 27  # the same on a GPU, which needs many rows at a time to be busy: half a gigabyte


@dataclass(frozen=True)
class Block:
    """Columns of one layer's [weight, bias]: its inputs, its column of ones, or both."""

    inputs: bool
    ones: bool


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """The covered layers by qualified name, in the model's order.

    Raises StudyError where the model has none, or where two of them share a weight.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }
    if not found:
        raise StudyError("the model has no Linear or Conv2d layer: there is nothing to attribute through")
    if len({id(layer.weight) for layer in found.values()}) < len(found):
        raise StudyError("two layers of the model share one weight: no block can hold it")
    return found


def blocks(model: nn.Module, bias: Bias) -> dict[str, dict[str, Block]]:
    """Layer -> its blocks by name, in the model's order; StudyError for an unknown `bias`."""
    if bias not in ("joint", "separate"):
        raise StudyError(f"bias is {bias!r}: choose joint or separate")
    named: dict[str, dict[str, Block]] = {}
    for name, layer in layers(model).items():
        has_bias = layer.bias is not None
        if bias == "joint":
            named[name] = {name: Block(inputs=True, ones=has_bias)}
        else:
            named[name] = {f"{name}.weight".removeprefix("."): Block(inputs=True, ones=False)}
            named[name] |= {f"{name}.bias".removeprefix("."): Block(inputs=False, ones=True)} if has_bias else {}
    return named


def covered(model: nn.Module) -> list[str]:
    """Names of the parameters that the blocks hold: weights and biases of `layers(model)`, in the model's order."""
    return [name for named in blocks(model, "separate").values() for name in named]


def rows_in(layer: nn.Module, a: Tensor, groups: int) -> Tensor:
    """Inputs at every place, [n, K, I], of a layer's input `a`: [R, ..., I] or, with I = C kh kw, [R, C, H, W].

    groups = R gives single rows (K = L), groups = N examples, groups = 1 everything. rows_out orders places alike.
    """
    if isinstance(layer, nn.Linear):
        return a.reshape(groups, -1, layer.in_features)
    if pointwise(layer):
        return _pixels(a, groups)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    a = F.pad(a, layer._reversed_padding_repeated_twice, mode)  # what the convolution sees: tuple, "same" or "valid"
    a = a.unflatten(0, (groups, -1)).permute(0, 2, 3, 4, 1).contiguous()  # [n, C, H, W, R/n]: long runs to copy
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    _, channels, height, width, rows = a.shape
    high, wide = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    n, c, h, w, r = a.stride()
    patches = a.as_strided(  # a view: pixel (y, x) of patch (p, q) is (p sh + y dh, q sw + x dw)
        (groups, channels, kh, kw, high, wide, rows), (n, c, h * dh, w * dw, h * sh, w * sw, r)
    )
    return patches.reshape(groups, channels * kh * kw, high * wide * rows).mT


def rows_out(layer: nn.Module, b: Tensor, groups: int) -> Tensor:
    """Output gradients at every place, [n, K, O], of `b` [R, ..., O] (Linear) or [R, O, H, W] (Conv2d)."""
    if isinstance(layer, nn.Linear):
        return b.reshape(groups, -1, layer.out_features)
    return _pixels(b, groups)


def pointwise(layer: nn.Module) -> bool:
    """Whether the inputs at the places of `layer` are parts of its input as it is: Linear, or patches of one pixel."""
    plain = (1, 1), (1, 1), (0, 0)
    return isinstance(layer, nn.Linear) or (layer.kernel_size, layer.stride, layer.padding) == plain


def unordered(layer: nn.Module, x: Tensor) -> Tensor:
    """Vectors at all places of all rows, [K, C], of a layer's output or of a pointwise layer's input, in some order."""
    return x.flatten(0, -2) if isinstance(layer, nn.Linear) else x.transpose(0, 1).flatten(1).mT


def _pixels(x: Tensor, groups: int) -> Tensor:
    """Channels at every place, [n, K, C], of images [R, C, H, W]."""
    return x.unflatten(0, (groups, -1)).permute(0, 2, 3, 4, 1).reshape(groups, x.shape[1], -1).mT


def chunk_size(device: torch.device) -> int:
    """Numbers of one chunk on `device`."""
    return CHUNK_CUDA if device.type == "cuda" else CHUNK


def chunk(layer: nn.Module, a: Tensor, groups: int) -> int:
    """How many rows to unfold at once: whole groups of about a chunk's numbers; all where nothing is unfolded."""
    if pointwise(layer):
        return len(a)
    (kh, kw), (sh, sw), group = layer.kernel_size, layer.stride, len(a) // groups
    return group * max(1, chunk_size(a.device) * sh * sw // (group * a[0].numel() * kh * kw))


def outer(a: Tensor, b: Tensor, block: Block) -> Tensor:
    """sum_k b_k (a_k, 1)^T of every group: a [n, K, I], b [n, K, O] -> [n, O, J]."""
    parts = []
    if block.inputs:
        parts.append(torch.bmm(b.mT, a))
    if block.ones:
        parts.append(b.sum(1).unsqueeze(2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def gram(a: Tensor, block: Block) -> Tensor:
    """sum_k (a_k, 1) (a_k, 1)^T of a [K, I] -> [J, J]."""
    if not block.inputs:
        return a.new_full((1, 1), len(a))
    size = a.shape[1]
    product = a.new_empty(size + block.ones, size + block.ones)
    step = max(32, -(-size // 4))
    for i in range(0, size, step):  # strips right of the diagonal, and their mirror images: 5/8 of the flops
        strip = a[:, i : i + step].mT @ a[:, i:]  # [<= step, I - i]
        product[i : i + len(strip), i:size] = strip
        product[i:size, i : i + len(strip)] = strip.mT
    if block.ones:
        product[-1, :-1] = product[:-1, -1] = a.sum(0)
        product[-1, -1] = len(a)
    return product


def project(a: Tensor, basis: Tensor, block: Block) -> Tensor:
    """(a, 1) Q for a [..., I] and a basis Q [J, J] -> [..., J]."""
    if not block.inputs:
        return basis.expand(*a.shape[:-1], 1)
    if not block.ones:
        return a @ basis
    return torch.addmm(basis[-1], a.flatten(0, -2), basis[:-1]).unflatten(0, a.shape[:-1])
