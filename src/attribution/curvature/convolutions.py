"""A convolution's gradients and curvature by other convolutions: the sums of blocks.py, and no patch is unfolded.

The sum over positions of b a^T, with a the patch of a position, is the weight gradient of a convolution with input x
and output gradient b; so the products here are
    gradients of n groups of rows    one convolution with n groups of channels
    sum of a a^T                     products of whole lines of pixels: those of two entries of a patch depend on the
                                     distance of their lines alone, up to those that are lost at the image's border
    a^T Q for a basis Q              a convolution whose filters are the columns of Q
They are taken where they are fast: in float32 on a CPU, by oneDNN. Elsewhere blocks.py unfolds.

Shape letters: R rows, n groups of R/n successive rows, C H W the layer's input, I = C kh kw, J columns of a block,
O outputs, L positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from attribution.curvature import blocks
from attribution.curvature.blocks import Block

FILTERS = 32  # oneDNN is slow where the number of filters is no multiple of it


def suits(layer: nn.Module, a: Tensor) -> bool:
    """Whether `layer` with input `a` is served by this module: patches of more than a pixel, float32 on a CPU."""
    convolution = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    return convolution and a.dtype == torch.float32 and a.device.type == "cpu"


def outer(layer: nn.Conv2d, a: Tensor, b: Tensor, groups: int, block: Block) -> Tensor:
    """sum_k b_k (a_k, 1)^T of every group of rows: a [R, C, H, W], b [R, O, ...] -> [n, O, J]."""
    parts = []
    if block.inputs:
        a, padding = _seen(layer, a)
        x, g = (_side_by_side(tensor, groups) for tensor in (a, b))
        shape = (groups * layer.out_channels, *layer.weight.shape[1:])
        weight = conv2d_weight(x, shape, g, layer.stride, padding, layer.dilation, groups)
        parts.append(weight.reshape(groups, layer.out_channels, -1))
    if block.ones:
        parts.append(b.sum((2, 3)).view(groups, -1, layer.out_channels).sum(1).unsqueeze(2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def project(layer: nn.Conv2d, a: Tensor, basis: Tensor, block: Block) -> Tensor:
    """Q^T (a, 1) of every position, for a [R, C, H, W] and a basis Q [J, J] of a block with inputs -> [R, J, L]."""
    size, columns = layer.weight[0].numel(), len(basis)
    basis = F.pad(basis, (0, -columns % FILTERS))
    filters = basis[:size].mT.reshape(-1, *layer.weight.shape[1:])
    a, padding = _seen(layer, a)
    found = F.conv2d(a, filters, basis[size] if block.ones else None, layer.stride, padding, layer.dilation)
    return found.flatten(2)[:, :columns]


def times(G: Tensor, basis: Tensor) -> Tensor:
    """G Q for G [n, O, J] and Q [J, J]: filters of one pixel on n images of 1 x O pixels with J channels."""
    filters = basis.mT[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return F.conv2d(G.unsqueeze(1).permute(0, 3, 1, 2), filters).permute(0, 2, 3, 1).squeeze(1)


def has_gram(layer: nn.Module, a: Tensor) -> bool:
    """Whether `gram` knows the geometry: 3x3 patches at every pixel, one pixel of zeros around the image."""
    geometry = (getattr(layer, name, None) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode"))
    return suits(layer, a) and tuple(geometry) == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros")


def line_products(a: Tensor) -> Tensor:
    """Products of lines of pixels (x, 1), x [C W], summed over the rows of a [R, C, H, W]: [5, C W + 1, C W + 1].

    Each line with itself, over all lines, the first, the last; lines y with y + 1, y with y + 2 (without the ones).
    """
    lines = a.permute(2, 0, 1, 3).flatten(2)  # [H, R, C W]
    size = lines.shape[2]
    products = a.new_zeros(5, size + 1, size + 1)
    for k, part in enumerate((lines, lines[:1], lines[-1:])):
        products[k] = blocks.gram(part.flatten(0, 1), Block(inputs=True, ones=True))
    for s in (1, 2):
        above = lines[: max(0, len(lines) - s)]
        products[2 + s, :size, :size] = above.flatten(0, 1).mT @ lines[s:].flatten(0, 1)
    return products


def gram(layer: nn.Conv2d, products: Tensor, block: Block) -> Tensor:
    """sum_k (a_k, 1) (a_k, 1)^T over all rows and positions, [J, J], of `line_products` and a layer with `has_gram`.

    Entries (i, j) and (i', j') of the patch at pixel u are those of pixels u + (i - 1, j - 1) and u + (i' - 1, j' - 1),
    with zeros outside of the image. So lines y meet lines y + i' - i, all that there are; but where i' = i, no pixel
    has the last line above it or the first below. Of two lines those columns' products are summed that (j, j') meet.
    """
    channels = layer.in_channels
    width = (products.shape[1] - 1) // channels
    if not block.inputs:
        return products[0, -1:, -1:] * width
    seen = F.pad(torch.eye(width).to(products), (1, 1)).unfold(1, 3, 1)  # [v, u, j]: 1 where v = u + j - 1
    met = torch.einsum("vuj,wuk->vwjk", seen, seen).reshape(width**2, 9)
    pairs = products[:, :-1, :-1].unflatten(2, (channels, width)).unflatten(1, (channels, width)).transpose(2, 3)
    found = (pairs.reshape(-1, width**2) @ met).view(-1, channels, channels, 3, 3).transpose(2, 3)
    one, two = found[3:]  # each [C, j, C, j']
    patches = products.new_empty(channels, 3, 3, channels, 3, 3)
    for i, value in enumerate(_by_line(*found[:3])):
        patches[:, i, :, :, i] = value
    for i, k, value in ((0, 1, one), (1, 2, one), (0, 2, two)):
        patches[:, i, :, :, k] = value
        patches[:, k, :, :, i] = value.permute(2, 3, 0, 1)
    product = patches.view(channels * 9, channels * 9)
    if not block.ones:
        return product
    sums = products[:3, -1, :-1].unflatten(1, (channels, width)) @ seen.sum(1)  # [3, C, j]
    ones = torch.stack(_by_line(*sums), 1).view(-1, 1)
    corner = products[:1, -1:, -1] * width
    return torch.cat([torch.cat([product, ones], 1), torch.cat([ones.mT, corner], 1)])


def _by_line(every: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over the lines that entries i = 0, 1, 2 of the patches meet: all but the last, all, all but the first."""
    return every - last, every, every - first


def _seen(layer: nn.Conv2d, a: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The input and the zeros to pad it with, for every way of padding."""
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return a, layer.padding
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(a, layer._reversed_padding_repeated_twice, mode), (0, 0)


def _side_by_side(a: Tensor, groups: int) -> Tensor:
    """[R, C, H, W] as [R/n, n C, H, W]: row r of every group in one image."""
    return a.unflatten(0, (groups, -1)).transpose(0, 1).flatten(1, 2)
