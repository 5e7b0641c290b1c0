"""F^-1 g as a change of parameters: gradients divided by a damped curvature, back in the shapes of the parameters.

    G -> Q_B ((Q_B^T G Q_A) / (Lambda + damping)) Q_A^T
a block [O, J] with EK-FAC's basis and eigenvalues; in the basis of the identity that is the diagonal of the curvature.
Influence divides once and takes an inner product; a method that moves the model needs the vector itself.

Shape letters: Q gradients, O x J shape of a block.
"""

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias, blocks, layers
from attribution.curvature.ekfac import rotate
from attribution.curvature.kfac import Basis
from attribution.curvature.solve import Damping


def precondition(
    gradients: dict[str, Tensor], basis: Basis, eigenvalues: dict[str, Tensor], damping: Damping
) -> dict[str, Tensor]:
    """(F + damping)^-1 G of gradients [Q, O, J] a block, not rotated; directions of no curvature are 0 undamped."""
    solved = {}
    for name, rotated in rotate(gradients, basis).items():
        added = damping[name] if isinstance(damping, dict) else damping
        total = (eigenvalues[name].double() + added).to(rotated)
        scaled = (rotated / total).where(total > 0, 0.0)
        solved[name] = basis.QB[name].to(scaled) @ scaled @ basis.QA[name].to(scaled).mT
    return solved


def parameters(model: nn.Module, values: dict[str, Tensor], bias: Bias) -> dict[str, Tensor]:
    """Block -> [Q, O, J] as parameter name -> [Q, ...], in the parameters' shapes."""
    found = {}
    for layer, named in blocks(model, bias).items():
        module = layers(model)[layer]
        for name, block in named.items():
            value = values[name]
            if block.inputs:
                flat = value[..., : value.shape[-1] - block.ones]
                found[f"{layer}.weight".removeprefix(".")] = flat.unflatten(2, module.weight.shape[1:])
            if block.ones:
                found[f"{layer}.bias".removeprefix(".")] = value[..., -1]
    return {name: torch.as_tensor(value) for name, value in found.items()}
