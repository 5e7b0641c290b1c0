"""Gradients of each example's loss, mean over its draws: the flops of a plain weight gradient, and no loop.

G_n = (1/E) sum_{e, l} b_{n,e,l} a_{n,e,l}^T, where b is the gradient of a row's loss at a layer's output: draws and
positions are contracted as one axis by one bmm a layer, so no [R, P] array of gradients of single rows ever exists.
Equal to torch.func.vmap(grad) of the mean loss over an example's draws.

Shape letters: R = N E rows, N examples, E draws, n groups of rows, O x J shape of a block, P parameters.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from attribution.curvature import convolutions
from attribution.curvature.blocks import Bias, blocks, chunk, outer, rows_in, rows_out
from attribution.curvature.capture import Site, backward, forward
from attribution.curvature.rows import Batch
from attribution.errors import StudyError

OutputGradient = Callable[[Tensor, Batch], Tensor]  # (output [R, ...], its batch) -> d(quantity of a row)/d(output)


def example_gradients(model: nn.Module, batch: Batch, bias: Bias, output_gradient: OutputGradient) -> dict[str, Tensor]:
    """Gradient of each example's loss (mean over its E draws): a [N, O, J] tensor for every block.

    `output_gradient` is rows.loss_gradient for the training loss, or diffusion.quantities.output_gradient.
    """
    output, sites = forward(model, batch)
    u = output_gradient(output.detach(), batch) / batch.draws
    return group_gradients(model, sites, backward(output, sites, u, retain=False), bias, batch.examples)


def mean_gradients(
    model: nn.Module, batches: Iterable[Batch], bias: Bias, output_gradient: OutputGradient
) -> dict[str, Tensor]:
    """The same over a stream of batches that hold the same N examples with other draws: the mean over all draws.

    Only one batch's activations and one [N, P] sum are in memory, so 1000 draws may come as 20 batches of 50.
    Raises StudyError where a batch holds another number of examples, and where there is none.
    """
    total: dict[str, Tensor] = {}
    draws, examples = 0, set()
    for batch in batches:
        examples.add(batch.examples)
        if len(examples) > 1:
            raise StudyError(f"a stream of draws must hold the same examples: it has batches of {sorted(examples)}")
        for name, gradient in example_gradients(model, batch, bias, output_gradient).items():
            gradient.mul_(batch.draws)
            total[name] = total[name].add_(gradient) if name in total else gradient
        draws += batch.draws
    if not draws:
        raise StudyError("a stream of draws holds no batch: there is no mean gradient")
    return {name: gradient.div_(draws) for name, gradient in total.items()}


def group_gradients(
    model: nn.Module, sites: dict[str, Site], returned: dict[str, Tensor], bias: Bias, groups: int
) -> dict[str, Tensor]:
    """sum_k b_k a_k^T over each of n groups of successive rows, [n, O, J] for every block (n = R: single rows).

    `returned` holds the gradients at the layers' outputs, [R, ...] each (capture.backward).
    """
    gradients: dict[str, Tensor] = {}
    for layer, named in blocks(model, bias).items():
        module, a, b = sites[layer].layer, sites[layer].input, returned[layer]
        if convolutions.suits(module, a):
            gradients |= {name: convolutions.outer(module, a, b, groups, block) for name, block in named.items()}
            continue
        step = chunk(module, a, groups)
        parts: dict[str, list[Tensor]] = {name: [] for name in named}
        for a_part, b_part in zip(a.split(step), b.split(step), strict=True):
            n = len(a_part) * groups // len(a)
            places = rows_in(module, a_part, n), rows_out(module, b_part, n)
            for name, block in named.items():
                parts[name].append(outer(*places, block))
        gradients |= {name: torch.cat(part) if len(part) > 1 else part[0] for name, part in parts.items()}
    return gradients


def flatten(gradients: dict[str, Tensor]) -> Tensor:
    """All blocks side by side, each row-major: dict of [N, O, J] -> [N, P].

    Blocks stand in the order of their names, so that a dict that went through a file flattens alike.
    """
    return torch.cat([gradients[name].flatten(1) for name in sorted(gradients)], 1)
