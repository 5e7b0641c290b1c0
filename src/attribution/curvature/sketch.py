"""Random projections of gradients: D numbers an example in place of P, with inner products kept up to noise.

A projection is x -> x S with S [P, D], E[S S^T] = I, so that <x S, y S> estimates <x, y> without bias. For both kinds
    Var <x S, y S> = (|x|^2 |y|^2 + <x, y>^2 - 2 sum_p x_p^2 y_p^2) / D
    rademacher  every entry +-1 / sqrt(D)                                    P D operations an example
    count       one entry +-1 a row, in a random column: a count-sketch      P operations an example
    none        S = I: the gradients themselves, side by side, [n, P]
Source: Johnson & Lindenstrauss 1984; Achlioptas 2003 (signs); Charikar, Chen, Farach-Colton 2002 (count-sketch);
Weinberger et al. 2009 (its inner products); Park et al. 2023 (TRAK's projection of gradients).

S is drawn from a stream of the seed, the kind, D and a block's name: train and query, any batch of examples, any order
of blocks and any subset of them see the same rows of S. A projection is the sum of its blocks' projections.

Shape letters: n examples, P parameters, D projection, O x J shape of a block, p parameters of a block.
"""

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import rng
from attribution.curvature.gradients import flatten
from attribution.errors import StudyError

Kind = Literal["none", "count", "rademacher"]
ENTRIES = 1 << 23  # numbers of S, or of gradients in float64, held at a time: bounds memory, S does not depend on it


def parse(name: str) -> tuple[Kind, int]:
    """Kind and D of a projection's name: "none" (D = 0), "count4096", "rademacher512"; StudyError for anything else."""
    if name == "none":
        return "none", 0
    found = re.fullmatch("(count|rademacher)([1-9][0-9]*)", name)
    if not found:
        raise StudyError(f"projection {name!r}: choose none, or count or rademacher with a number, as in count4096")
    return found[1], int(found[2])


def project(gradients: Mapping[str, Tensor], kind: Kind, dimensions: int, seed: int) -> Tensor:
    """[n, D] in the gradients' precision, of gradients [n, O, J] a block; [n, P], whatever D, for "none".

    Blocks are read one at a time, and summed in float64. Raises StudyError for an unknown kind, D < 1 and no blocks.
    """
    if not gradients:
        raise StudyError("there are no gradients to project")
    if kind == "none":
        return flatten(dict(gradients))
    if kind not in ("count", "rademacher"):
        raise StudyError(f"projection is {kind!r}: choose none, count or rademacher")
    if dimensions < 1:
        raise StudyError(f"a projection to {dimensions} dimensions keeps nothing: choose 1 or more")
    add = _count if kind == "count" else _rademacher
    total, dtype = None, None
    for name in sorted(gradients):  # in one order: sums round alike
        G = gradients[name].flatten(1)  # [n, p]
        if total is None:
            total, dtype = G.new_zeros(dimensions, len(G), dtype=torch.float64), G.dtype
        add(total, G, rng(seed, "projection", kind, dimensions, name))
    return total.mT.to(dtype).contiguous()


def _count(total: Tensor, G: Tensor, stream: np.random.Generator) -> None:
    """Adds S^T G^T [D, n] to `total`: row p of S holds the sign of p in the column of p."""
    columns = torch.from_numpy(stream.integers(0, len(total), G.shape[1])).to(G.device)  # [p]
    signs = torch.from_numpy(stream.integers(0, 2, G.shape[1]) * 2.0 - 1.0).to(G)  # [p]
    step = max(1, ENTRIES // len(G))
    for start in range(0, G.shape[1], step):
        part = slice(start, start + step)
        total.index_add_(0, columns[part], (G[:, part] * signs[part]).mT.double())


def _rademacher(total: Tensor, G: Tensor, stream: np.random.Generator) -> None:
    """Adds S^T G^T [D, n] to `total`: bits of the stream are signs, whole 32-bit words a row of S."""
    dimensions = len(total)
    words = -(-dimensions // 32)
    step = max(1, ENTRIES // dimensions)
    for start in range(0, G.shape[1], step):
        part = G[:, start : start + step]
        raw = np.frombuffer(stream.bytes(part.shape[1] * 4 * words), np.uint8).reshape(-1, 4 * words)
        signs = torch.from_numpy(np.unpackbits(raw, axis=1, count=dimensions)).to(part) * 2 - 1  # [step, D]
        total += (part @ signs).mT.double() / dimensions**0.5
