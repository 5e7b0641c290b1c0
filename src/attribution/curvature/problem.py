"""What a method that solves with the curvature of a model is given: gradients, the model, and rows to meet it by.

Shape letters: Q queries, N training examples, n those of a part, O x J shape of a block.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from attribution.curvature.blocks import Bias
from attribution.curvature.kfac import Basis
from attribution.curvature.rows import Batch

Blocks = dict[str, Tensor]  # block -> gradients [Q or n, O, J]


@dataclass(frozen=True)
class Problem:
    """One model's. `rows` are a function of (stream, step, count) alone, so that a resumed solve meets the same."""

    queries: Blocks
    parts: Iterable[Blocks]  # of the training set, each read once
    model: nn.Module
    rows: Callable[[str, int, int], Batch]
    bias: Bias
    learning_rate: float  # that of training, at its peak
    weight_decay: float
    ekfac: tuple[Basis, Blocks] | None  # eigenbasis and corrected eigenvalues, where the method names a curvature
    vectors: int  # right-hand sides of one pass: memory and speed, not results
