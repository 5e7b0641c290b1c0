"""A convolution's gradients and curvature by other convolutions: the sums of blocks.py, and no patch is unfolded.

The sum over positions of b a^T, with a the patch of a position, is the weight gradient of a convolution with input x
and output gradient b; so the products here are
    gradients of n groups of rows    one convolution with n groups of channels
    sum of a a^T                     x with itself: products of two entries of a patch depend on their distance alone,
                                     up to the pixels that the entries lose at the image's border
    a^T Q for a basis Q              a convolution whose filters are the columns of Q
They are taken where they are fast: in float32 on a CPU, by oneDNN. Elsewhere blocks.py unfolds.

Shape letters: R rows, n groups of R/n successive rows, C H W the layer's input, I = C kh kw, J columns of a block,
O outputs, L positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

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
        parts.append(weight.view(groups, layer.out_channels, -1))
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


def has_gram(layer: nn.Conv2d) -> bool:
    """Whether `gram` knows the layer's geometry: 3x3 patches at every pixel, one pixel of zeros around the image."""
    geometry = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode
    return geometry == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros")


def gram(layer: nn.Conv2d, a: Tensor, block: Block) -> Tensor:
    """sum_k (a_k, 1) (a_k, 1)^T over all rows and positions, for a [R, C, H, W] and a layer with `has_gram` -> [J, J].

    Entries d, d' in {-1, 0, 1}^2 of the patch at pixel u are x_{u+d} and x_{u+d'}, with x = 0 outside of the image:
        sum_u x_{u+d} x_{u+d'} = R[d' - d] - (lost rows) - (lost columns) + (lost corners)
    where R[s] = sum_v x_v x_{v+s} has terms v = u + d too many, those of no pixel u: v in the last row for d upwards,
    in the first for d downwards. There x_{v+s} is in the image only if d' does the same; and so for columns.
    """
    size, pixels = layer.weight[0].numel(), a.shape[2] * a.shape[3]
    if not block.inputs:
        return a.new_full((1, 1), len(a) * pixels)
    product = a.new_empty(size + block.ones, size + block.ones)
    product[:size, :size] = _patch_products(a).view(size, size)
    if block.ones:
        product[-1, :-1] = product[:-1, -1] = F.unfold(a.sum(0, keepdim=True), 3, padding=1)[0].sum(1)
        product[-1, -1] = len(a) * pixels
    return product


def _patch_products(a: Tensor) -> Tensor:
    """The formula of `gram`, [C, 3, 3, C, 3, 3]; d = (i - 1, j - 1)."""
    lost = {0: -1, 2: 0}  # i -> the row, j -> the column
    full = _correlation(a, 2, 2)  # R[s]: [C, C, 5, 5]
    rows = {i: _correlation(a[:, :, end, None], 0, 2)[:, :, 0] for i, end in lost.items()}  # [C, C, 5]
    columns = {j: _correlation(a[:, :, :, end, None], 2, 0)[..., 0] for j, end in lost.items()}
    product = a.new_empty(a.shape[1], 3, 3, a.shape[1], 3, 3)
    for i in range(3):
        for j in range(3):
            part = product[:, i, j]  # all d' of one d: [C, C, 3, 3]
            part.copy_(full[:, :, 2 - i : 5 - i, 2 - j : 5 - j])
            if i in lost:
                part[:, :, i] -= rows[i][:, :, 2 - j : 5 - j]
            if j in lost:
                part[:, :, :, j] -= columns[j][:, :, 2 - i : 5 - i]
            if i in lost and j in lost:
                corner = a[:, :, lost[i], lost[j]]  # [R, C]
                part[:, :, i, j] += corner.mT @ corner
    return product


def _correlation(x: Tensor, high: int, wide: int) -> Tensor:
    """sum_v x_v x_{v+s}^T over rows and pixels v, for |s| <= (high, wide): [C, C, 2 high + 1, 2 wide + 1]."""
    x, channels = x.contiguous(), x.shape[1]
    return conv2d_weight(x, (channels, channels, 2 * high + 1, 2 * wide + 1), x, padding=(high, wide))


def _seen(layer: nn.Conv2d, a: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The input and the zeros to pad it with, for every way of padding."""
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return a, layer.padding
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(a, layer._reversed_padding_repeated_twice, mode), (0, 0)


def _side_by_side(a: Tensor, groups: int) -> Tensor:
    """[R, C, H, W] as [R/n, n C, H, W]: row r of every group in one image."""
    return a.unflatten(0, (groups, -1)).transpose(0, 1).flatten(1, 2)
