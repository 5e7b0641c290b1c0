"""Inner products of gradients over all blocks.

Shape letters: N examples, O x J shape of a block.
"""

import torch
from torch import Tensor


def inner(left: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
    """sum_blocks <l_i, r_j>, [N_left, N_right] float64: dicts of [N, O, J] over the same blocks."""
    shape = len(next(iter(left.values()))), len(next(iter(right.values())))
    total = torch.zeros(shape, dtype=torch.float64, device=next(iter(left.values())).device)
    for block, gradients in left.items():
        l_flat = gradients.flatten(1).double()
        r_flat = l_flat if right[block] is gradients else right[block].flatten(1).double()
        total += l_flat @ r_flat.mT
    return total
