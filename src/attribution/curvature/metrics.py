"""The metric P of an iteration in parameter space: what a residual is divided by before it becomes a step.

Moments: P = diag(sqrt(v) + 1e-8), AdamW's own metric, with v the mean squared gradient of minibatches of the training
loss at the final model. Its steps are those that training took, so training's learning rate suits them, and weight
decay d in training is a damping d P here.
EK-FAC: P = Q diag(Lambda + damping) Q^T, an approximate inverse that knows the curvature beyond the diagonal, as in
ASTRA (Wang et al. 2025, "Better training data attribution via better inverse Hessian-vector products",
arXiv 2507.14740). A learning rate of 1 would solve at once if it were exact and a step had all rows; few rows a step
need a smaller rate or a larger damping of P, or the iteration diverges.

Shape letters: K vectors, P parameters, O x J shape of a block.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attribution.curvature.blocks import Bias
from attribution.curvature.flat import Layout, from_blocks, to_blocks
from attribution.curvature.kfac import Basis
from attribution.curvature.linearise import linearise
from attribution.curvature.precondition import precondition
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError

EPSILON = 1e-8  # AdamW's


class Metric(NamedTuple):
    """x <- x + factor P^-1 r in place, of x and r [K, P] and a factor; and x -> P x."""

    add: Callable[[Tensor, Tensor, float], Tensor]
    times: Callable[[Tensor], Tensor]


def divided(metric: Metric, r: Tensor) -> Tensor:
    """P^-1 r [K, P]."""
    return metric.add(torch.zeros_like(r), r, 1.0)


def second_moments(model: nn.Module, layout: Layout, batches: Iterable[Batch]) -> Tensor:
    """v [P]: the mean over `batches` of the squared gradient of a batch's mean loss. StudyError where there is none."""
    total, count = 0, 0
    for batch in batches:
        at = linearise(model, layout, batch)
        gradient = at.backward(loss_gradient(at.output, batch)[None] / batch.rows)[0]  # [P]
        total, count = total + gradient.square(), count + 1
    if not count:
        raise StudyError("second moments need at least one batch")
    return total / count


def by_moments(moments: Tensor) -> Metric:
    """P = diag(sqrt(v) + 1e-8) of second moments v [P]; StudyError where they are negative or not finite."""
    if not (moments >= 0).all() or not moments.isfinite().all():
        raise StudyError("second moments are negative or not finite: the model's gradients overflow")
    diagonal = moments.sqrt() + EPSILON
    return Metric(lambda x, r, factor: x.addcdiv_(r, diagonal, value=factor), lambda x: x * diagonal)


def by_ekfac(
    model: nn.Module, layout: Layout, bias: Bias, basis: Basis, eigenvalues: dict[str, Tensor], damping: float
) -> Metric:
    """P = Q diag(Lambda + damping) Q^T over just the parameters that blocks hold; StudyError without damping."""
    if not damping > 0:
        raise StudyError(f"EK-FAC as a metric needs a damping above 0, not {damping}: it must have an inverse")
    inverse = {name: 1 / (values.double() + damping) for name, values in eigenvalues.items()}

    def through(x: Tensor, values: dict[str, Tensor], added: float) -> Tensor:
        held = to_blocks(model, x, bias, layout)
        return from_blocks(model, precondition(held, basis, values, added), bias, layout)

    def add(x: Tensor, r: Tensor, factor: float) -> Tensor:
        return x.add_(through(r, eigenvalues, damping), alpha=factor)

    return Metric(add, lambda x: through(x, inverse, 0.0))
