"""Plain ascent on the query's loss: the methods before mirrored unlearning that keep nothing and bound nothing.

    sgd    theta <- theta + learning_rate grad L_f              the negative control: Wang et al. 2024 (AbU) find it as
                                                          good as random
    adam   the same gradient through Adam                 Forward-INF (Ko et al. 2024), whose example takes one step
L_f is the mean loss of the query at B fresh draws. The number of steps is given: nothing tells ascent when to stop.

Shape letters: M queries (one model each), B batch, C H W image.
"""

from typing import Any

import torch
from torch import Tensor, nn

from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError
from attribution.unlearning.losses import respond, square_error
from attribution.unlearning.mirrored import Unlearned
from attribution.unlearning.noise import step_noise
from attribution.unlearning.optimiser import AdamW


def ascend(
    model: nn.Module,
    frozen: dict[str, Tensor],
    trained: dict[str, Tensor],
    queries: Tensor,
    abar: Tensor,
    null: float,
    settings: dict[str, Any],
    seed: int,
) -> Unlearned:
    """Ascend on each of queries [M, C, H, W]; settings: batch, optimiser, steps, learning_rate.

    `forget` of what is returned is the loss, bounded by the null loss, at the last step's draws, before that step.
    Raises StudyError for an unknown optimiser, and where a loss is not finite.
    """
    if settings["optimiser"] not in ("sgd", "adam"):
        raise StudyError(f"optimiser: {settings['optimiser']!r} is not known (allowed: sgd, adam)")
    count, size = len(queries), settings["batch"]
    weights = {name: value.detach().expand(count, *value.shape).clone() for name, value in trained.items()}
    adam = AdamW(settings["learning_rate"], weight_decay=0.0)
    for step in range(settings["steps"]):
        for value in weights.values():
            value.requires_grad_()
        t, eps = step_noise(seed, "forget", step, size, len(abar), queries.shape[1:], queries)
        x_t = add_noise(abar, queries[:, None], t.expand(count, -1), eps)  # [M, B, C, H, W]
        losses = square_error(respond(model, frozen, weights, x_t, t), eps)  # [M, B]
        if not losses.isfinite().all():
            raise StudyError(f"unlearning: a loss at step {step} is not finite; lower learning_rate or steps")
        gradients = torch.autograd.grad(-losses.mean(1).sum(), list(weights.values()))
        weights = {name: value.detach() for name, value in weights.items()}
        if settings["optimiser"] == "adam":
            adam.update(weights, dict(zip(weights, gradients, strict=True)))
        else:
            for value, gradient in zip(weights.values(), gradients, strict=True):
                value.sub_(gradient, alpha=settings["learning_rate"])
    steps = torch.full((count,), settings["steps"])
    forget = losses.detach().clamp(max=null).mean(1).cpu().to(torch.float32)
    return Unlearned(weights, steps, torch.ones(count, dtype=torch.bool), forget)
