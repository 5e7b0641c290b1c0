"""Inner products of gradients over all blocks.

Shape letters: N examples, O x J shape of a block.
"""

from collections.abc import Mapping

from torch import Tensor


def inner(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> Tensor:
    """sum_blocks <l_i, r_j>, [N_left, N_right] float64, of [N, O, J] over the same blocks, each read once."""
    total: Tensor | None = None
    for block, gradients in left.items():
        l_flat = gradients.flatten(1).double()
        r_flat = l_flat if right is left else right[block].flatten(1).double()
        if total is None:
            total = l_flat.new_zeros(len(l_flat), len(r_flat))
        total += l_flat @ r_flat.mT
    return total
