"""A model linearised at a batch of rows: J x and J^T u for stacks of vectors, and products with the GGN made of both.

J is the Jacobian of the rows' outputs in the parameters of a layout. The forward pass is run once and shared by all
vectors. For any module by forward-mode and reverse-mode differentiation (torch.func); for the MLP by matrix products
written out (linearise_mlp.py), which take less than two thirds of the time.

With the loss of a row the mean over D of its squared error, the GGN of R rows is
    G = 1/R sum_r J_r^T (2/D) J_r,
the matrix of ggn.py. A product costs about four forward passes a row and vector and stores no [P, P] and no [R, P].
Source: Pearlmutter 1994; Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent".

Shape letters: R rows, D output dims of a row, K vectors, P parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from attribution.curvature.flat import Layout
from attribution.curvature.linearise_mlp import linearise_mlp
from attribution.curvature.rows import Batch
from attribution.diffusion.denoisers import MLP


class Linearisation(NamedTuple):
    """The outputs [R, ...] of a batch, and what J and J^T do: [K, P] -> [K, R, ...] and back."""

    output: Tensor
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]


@torch.no_grad()
def linearise(model: nn.Module, layout: Layout, batch: Batch) -> Linearisation:
    """The linearisation of `model`, in its present mode, in the parameters of `layout`; the others stay as they are."""
    if isinstance(model, MLP) and len(layout.shapes) == len([*model.parameters()]):
        return Linearisation(*linearise_mlp(model, layout, batch))
    params = {name: model.get_parameter(name).detach() for name in layout.shapes}

    def run(values: dict[str, Tensor]) -> Tensor:
        return functional_call(model, values, batch.inputs)

    output, pull = vjp(run, params)

    @torch.no_grad()
    def forward(x: Tensor) -> Tensor:
        return vmap(lambda tangent: jvp(run, (params,), (tangent,))[1])(layout.split(x))

    @torch.no_grad()
    def backward(u: Tensor) -> Tensor:
        return layout.join(vmap(pull)(u)[0])

    return Linearisation(output, forward, backward)


def ggn_product(model: nn.Module, layout: Layout, batch: Batch, rows: int) -> Callable[[Tensor], Tensor]:
    """x -> G x, [K, P] -> [K, P], G the GGN of the batch, taken `rows` rows at a time: no matter beyond rounding.

    Memory holds the graph of one forward pass of the batch and, in a product, K changes of the activations of `rows`
    rows. All products share the forward pass, so many vectors may come in several parts.
    """
    parts = [linearise(model, layout, part) for part in cut(batch, rows)]
    scale = 2 / (parts[0].output[0].numel() * batch.rows)

    def product(x: Tensor) -> Tensor:
        total, *others = (at.backward(at.forward(x).mul_(scale)) for at in parts)
        return sum(others, total)

    return product


def cut(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in batches of at most `rows` rows, every row an example of its own."""
    for start in range(0, batch.rows, rows):
        part = slice(start, start + rows)
        inputs = tuple(tensor[part] for tensor in batch.inputs)
        yield replace(batch, inputs=inputs, target=batch.target[part], examples=len(inputs[0]), draws=1, pseudo=None)
