"""Gradients of examples in all parameters of a layout, norms included, and their products with given directions.

    scores[k, n] = g_n . x_k = 1/E sum_e u_ne^T (J_ne x_k),   u = d(quantity of a row)/d(its output)
is the derivative of example n's quantity along x_k, by one forward-mode pass over the rows with all directions as
tangents: memory holds [K, P] and the changes of one batch's outputs, and neither an [N, P] nor a gradient at all.
A pass costs about two forward passes a row and direction, so that for many directions it is dearer than gradients that
are made, multiplied and dropped part by part (gradients.py, for parameters that blocks hold), which cost three a row.

Shape letters: N examples, E draws, R = N E rows, K directions, P parameters.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from attribution.curvature.flat import Layout
from attribution.curvature.gradients import OutputGradient
from attribution.curvature.linearise import cut, linearise
from attribution.curvature.rows import Batch


@torch.no_grad()
def directional_derivatives(
    model: nn.Module, layout: Layout, batches: Iterable[Batch], x: Tensor, output_gradient: OutputGradient, vectors: int
) -> Tensor:
    """[K, N] derivatives along x [K, P], `vectors` at a time, of N examples: means over the draws of all `batches`.

    The batches hold the same examples with other draws, as gradients.mean_gradients takes them.
    """
    total, draws = 0, 0
    for batch in batches:
        at = linearise(model, layout, batch)
        u = output_gradient(at.output, batch).flatten(1)  # [R, D]
        changes = torch.cat([(at.forward(some).flatten(2) * u).sum(2) for some in x.split(vectors)])  # [K, R]
        total = total + changes.unflatten(1, (batch.examples, batch.draws)).sum(2)
        draws += batch.draws
    return total / draws


@torch.no_grad()
def full_gradients(
    model: nn.Module, layout: Layout, batches: Iterable[Batch], output_gradient: OutputGradient
) -> Tensor:
    """[N, P] gradients of N examples, means over the draws of all `batches`: one backward pass an example and batch."""
    total, draws = 0, 0
    for batch in batches:
        found = []
        for rows in cut(batch, batch.draws):
            at = linearise(model, layout, rows)
            found.append(at.backward(output_gradient(at.output, rows)[None])[0])
        total, draws = total + torch.stack(found), draws + batch.draws
    return total / draws
