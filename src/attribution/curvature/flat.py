"""Vectors in parameter space as rows of one tensor [K, P]: what an iteration over many right-hand sides works on.

A layout says which parameters the P columns are, in the order of the model: those that blocks hold (blocks.covered),
or all of them, norms included. Splitting a tensor gives views of it, one a parameter.

Shape letters: K vectors, P parameters, N examples, O x J shape of a block.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias, blocks
from attribution.curvature.precondition import parameters
from attribution.errors import StudyError


@dataclass(frozen=True)
class Layout:
    """Parameter name -> its shape, in the order of the columns."""

    shapes: dict[str, torch.Size]

    @property
    def size(self) -> int:
        """P."""
        return sum(map(math.prod, self.shapes.values()))

    def split(self, vectors: Tensor) -> dict[str, Tensor]:
        """Views [..., *shape] of vectors [..., P], by parameter."""
        parts = vectors.split([math.prod(shape) for shape in self.shapes.values()], -1)
        return {
            name: part.unflatten(-1, shape) if shape else part.squeeze(-1)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """[K, P] of one [K, *shape] a parameter."""
        return torch.cat([parts[name].flatten(1) for name in self.shapes], 1)


def layout(model: nn.Module, names: Sequence[str] | None = None) -> Layout:
    """The layout of all parameters of `model`, or of those called `names`; StudyError where it has not all of them."""
    shapes = {name: value.shape for name, value in model.named_parameters()}
    chosen = list(shapes) if names is None else list(names)
    if not chosen or not shapes.keys() >= set(chosen):
        raise StudyError(f"the model has no parameters {sorted(set(chosen) - shapes.keys())}: it has {list(shapes)}")
    return Layout({name: shape for name, shape in shapes.items() if name in chosen})


def from_blocks(model: nn.Module, gradients: Mapping[str, Tensor], bias: Bias, target: Layout) -> Tensor:
    """[N, P] of gradients [N, O, J] a block; StudyError where the layout has parameters that no block holds."""
    parts = parameters(model, dict(gradients), bias)
    if missing := target.shapes.keys() - parts.keys():
        raise StudyError(f"no block holds the parameters {sorted(missing)}: take a layout of blocks.covered(model)")
    return target.join(parts)


def to_blocks(model: nn.Module, vectors: Tensor, bias: Bias, source: Layout) -> dict[str, Tensor]:
    """[N, O, J] a block of vectors [N, P] over just the parameters that blocks hold: the inverse of `from_blocks`."""
    parts, found = source.split(vectors), {}
    for layer, named in blocks(model, bias).items():
        for name, block in named.items():
            sides = [parts[f"{layer}.weight".removeprefix(".")].flatten(2)] if block.inputs else []
            sides += [parts[f"{layer}.bias".removeprefix(".")].unsqueeze(2)] if block.ones else []
            found[name] = torch.cat(sides, 2)
    return found
