"""What every layer saw and what came back to it: one forward with hooks, one backward to the layers' outputs.

torch.autograd.grad at the layers' outputs computes no weight gradient on the way; gradients and curvature are made of
the inputs and output gradients alone (blocks.py). The model's mode (train or eval) is the caller's to set.

Shape letters: R rows.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from attribution.curvature.blocks import layers
from attribution.curvature.rows import Batch
from attribution.errors import StudyError


@dataclass(frozen=True)
class Site:
    """One call of a layer: its input [R, ...], and where in the graph its output [R, ...] stands."""

    layer: nn.Module
    input: Tensor
    version: int  # the input's version when the layer saw it
    shape: torch.Size  # of the output
    edge: GradientEdge


@contextlib.contextmanager
def recording(model: nn.Module) -> Iterator[dict[str, Site]]:
    """Within it, one forward of `model` fills the yielded dict with a Site for every covered layer that is called.

    Raises StudyError where a layer is called a second time: its calls share a weight, and one Site cannot hold both.
    """
    sites: dict[str, Site] = {}

    def recorder(name: str):
        def record(layer: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
            if name in sites:
                raise StudyError(f"layer {name!r} is called twice in one forward: its gradients would be incomplete")
            if not output.requires_grad:  # every parameter up to here is frozen: the graph begins at this output
                output.requires_grad_()
            given = (*args, *kwargs.values())[0].detach()
            # The edge, not the tensor: an activation in place would make the tensor stand for its own output.
            sites[name] = Site(layer, given, given._version, output.shape, get_gradient_edge(output))

        return record

    hooks = [layer.register_forward_hook(recorder(name), with_kwargs=True) for name, layer in layers(model).items()]
    try:
        yield sites
    finally:
        for hook in hooks:
            hook.remove()


def forward(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Site]]:
    """The model's output [R, ...] on `batch`, with its graph, and the sites of all covered layers.

    Raises StudyError where a layer is not called, sees another number of rows or has its input overwritten in place,
    and where the output has not the target's shape.
    """
    with torch.enable_grad(), recording(model) as sites:
        output = model(*batch.inputs)
    if output.shape != batch.target.shape:
        raise StudyError(f"the model's output is {list(output.shape)}, the target {list(batch.target.shape)}")
    for name in layers(model):
        if name not in sites:
            raise StudyError(f"layer {name!r} is not called by the forward: it has neither inputs nor gradients")
        if len(sites[name].input) != batch.rows:
            raise StudyError(f"layer {name!r} sees {len(sites[name].input)} rows, the batch holds {batch.rows}")
        if sites[name].input._version != sites[name].version:
            raise StudyError(f"the input of layer {name!r} is overwritten in place after its call")
    return output, {name: sites[name] for name in layers(model)}


def backward(output: Tensor, sites: dict[str, Site], u: Tensor, retain: bool) -> dict[str, Tensor]:
    """Gradients of sum(u * output) at every layer's output, each [R, ...]; zeros where `output` does not depend on it.

    `retain` keeps the graph for another backward.
    """
    edges = [site.edge for site in sites.values()]
    gradients = torch.autograd.grad(output, edges, u, retain_graph=retain, allow_unused=True)
    return {
        name: sites[name].input.new_zeros(sites[name].shape) if gradient is None else gradient
        for name, gradient in zip(sites, gradients, strict=True)
    }
