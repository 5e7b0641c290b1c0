"""Mirrored unlearning (Serrà et al. 2026, MUCS): for each query a copy of the model that forgets it and keeps the rest.

    J(theta) = retain L_r - forget L_f
    L_r = mean over B training examples of their loss
    L_f = mean over B draws of min(loss of the query at that draw, L_null)
The bound acts on each draw, before the mean: a draw at or above the null loss has no gradient, so that J >= -forget
L_null and ascent on the query cannot run away. A query is done, without a further step, when on a step's draws L_f >=
stop L_null; the reference has no other end, here `max_steps` is one, and models that meet it are flagged. So are those
that are done before the first step: they are the model itself and can say nothing.
`bounded` false and `retain` 0 are the ablations: plain ascent beside retention, and bounded ascent alone.

Models are the rows of one stack and leave it when they are done. They are in evaluation mode: no dropout.

Shape letters: M queries (one model each), A those not done yet, B batch, C H W image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution.diffusion.ensemble import Stack
from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError
from attribution.unlearning.losses import respond, square_error
from attribution.unlearning.noise import retained, step_noise
from attribution.unlearning.optimiser import AdamW

OnStep = Callable[
    [int, Tensor, Tensor, Tensor], None
]  # step, models [A], their retain loss and bounded forget loss [A]


@dataclass(frozen=True)
class Unlearned:
    """Trained weights [M, ...] of the queries' models; steps taken [M]; whether the stop test was met [M]; and the
    bounded forget loss [M] of the draws that ended it."""

    weights: Stack
    steps: Tensor
    reached: Tensor
    forget: Tensor


def unlearn(
    model: nn.Module,
    frozen: dict[str, Tensor],
    trained: dict[str, Tensor],
    queries: Tensor,
    images: Tensor,
    abar: Tensor,
    null: float,
    settings: dict[str, Any],
    seed: int,
    on_step: OnStep | None = None,
) -> Unlearned:
    """Unlearn each of queries [M, C, H, W] from the weights `frozen` and `trained` (name -> [...]), keeping images.

    settings: batch, retain, forget, bounded, stop, max_steps, learning_rate, weight_decay. Nothing given is changed.
    Raises StudyError where fewer images than a batch are there, and where a loss is not finite.
    """
    if len(images) < settings["batch"]:
        raise StudyError(f"unlearning: batch is {settings['batch']}, the training set has {len(images)} examples")
    count = len(queries)
    weights = {name: value.detach().expand(count, *value.shape).clone() for name, value in trained.items()}
    result = {name: value.clone() for name, value in weights.items()}
    steps = torch.zeros(count, dtype=torch.int64)
    reached, forget = torch.zeros(count, dtype=torch.bool), torch.zeros(count)
    optimiser = AdamW(settings["learning_rate"], settings["weight_decay"])
    active = torch.arange(count)
    step = 0
    while len(active):
        for value in weights.values():
            value.requires_grad_()
        kept, forgotten = _losses(model, frozen, weights, queries[active], images, abar, step, settings, seed)  # [A, B]
        bounded = forgotten.clamp(max=null).mean(1)
        if on_step:
            on_step(step, active, kept.detach().mean(1), bounded.detach())
        if not bounded.isfinite().all():
            raise StudyError(
                f"unlearning: a loss at step {step} is not finite; lower learning_rate of the kind that is unlearned"
            )
        done = (bounded.detach() >= settings["stop"] * null).cpu()
        ended = done | (step >= settings["max_steps"])
        for name, value in weights.items():
            result[name][active[ended]] = value.detach()[ended]
        steps[active[ended]], reached[active[ended]] = step, done[ended]
        forget[active[ended]] = bounded.detach().cpu()[ended].to(forget)
        if ended.all():
            break
        total = objective(kept, forgotten, null, settings).sum()  # of models that share no trained weight
        gradients = dict(zip(weights, torch.autograd.grad(total, list(weights.values())), strict=True))
        weights = {name: value.detach() for name, value in weights.items()}
        if ended.any():
            stay = (~ended).nonzero().flatten()
            weights, gradients = ({name: part[stay] for name, part in held.items()} for held in (weights, gradients))
            active = active[stay]
            if optimiser.step:
                optimiser.keep(stay)
        optimiser.update(weights, gradients)
        step += 1
    return Unlearned(result, steps, reached, forget)


def objective(kept: Tensor, forgotten: Tensor, null: float, settings: dict[str, Any]) -> Tensor:
    """J [A] of the losses [A, B] of retained examples and of the queries' draws."""
    ascent = forgotten.clamp(max=null) if settings["bounded"] else forgotten
    return settings["retain"] * kept.mean(1) - settings["forget"] * ascent.mean(1)


def _losses(
    model: nn.Module,
    frozen: dict[str, Tensor],
    weights: Stack,
    queries: Tensor,
    images: Tensor,
    abar: Tensor,
    step: int,
    settings: dict[str, Any],
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Losses [A, B] of the step's retained examples and of the queries, each half at noise of its own."""
    size, shape = settings["batch"], images.shape[1:]
    rows = retained(seed, step, len(images), size).to(images.device)
    t, eps = step_noise(seed, "retain", step, size, len(abar), shape, images)
    x_t = add_noise(abar, images[rows], t, eps)  # [B, C, H, W], the same for all models
    kept = square_error(respond(model, frozen, weights, x_t, t), eps)
    t, eps = step_noise(seed, "forget", step, size, len(abar), shape, images)
    x_t = add_noise(abar, queries[:, None], t.expand(len(queries), -1), eps)  # [A, B, C, H, W]
    return kept, square_error(respond(model, frozen, weights, x_t, t), eps)
