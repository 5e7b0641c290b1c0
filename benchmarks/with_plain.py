"""What a gradient costs at least: one forward and backward of the same images, to one sum over all of them."""

from pathlib import Path

import problem
from torch import nn

EXAMPLES = 50  # at once; E times as many rows


def gradients(model: nn.Module, folder: Path) -> None:
    """The gradient of the summed loss, by autograd, a batch of examples at a time."""
    for batch in problem.cut(problem.rows("train"), EXAMPLES):
        model.zero_grad()
        problem.row_losses(model(*batch.inputs), batch.target).sum().backward()
