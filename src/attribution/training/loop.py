"""Train a cohort: M models in one batched computation, each with its own subset, stream and weights.

The objective of each model is the eps-prediction loss (Ho et al. 2020, L_simple, mean over dimensions), minimised by
AdamW with linear warm-up, cosine decay and gradient clipping per model; the result is the exponential moving average
of the weights. Everything acts model by model, so a model trained in a cohort equals the same model trained alone up to
rounding, and a run that is stopped and resumed equals an uninterrupted one bit for bit on a CPU.

Weights, their average, AdamW's moments and the loss are float32 whatever the precision of training: with "bf16" the
network runs on copies of weights and inputs in bfloat16 (Micikevicius et al. 2018, master weights; bfloat16 needs no
scaling of the loss), with "tf32" its float32 products round their factors on GPUs that can. Nothing else ever does.

Shape letters: M models, N training examples, B batch, C H W image; n examples in a subset.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution.core.device import tf32
from attribution.core.rng import torch_seed
from attribution.diffusion.ensemble import Stack, predict
from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError
from attribution.training.state import State
from attribution.training.stream import Stream, batch


@dataclass(frozen=True)
class Cohort:
    """What the models of one job are trained on: names, members [M, n] (rows of the training set), streams [M]."""

    names: tuple[str, ...]
    members: Tensor
    streams: tuple[Stream, ...]


def train(
    model: nn.Module,
    state: State,
    cohort: Cohort,
    images: Tensor,
    abar: Tensor,
    training: dict[str, Any],
    *,
    on_log: Callable[[dict[str, Any]], None],
    on_checkpoint: Callable[[State], None],
) -> Stack:
    """Train from `state` to `training["steps"]` on images [N, C, H, W]; the averaged weights, name -> [M, ...].

    Raises StudyError naming step, model and last checkpoint where a loss is not finite.
    """
    params = {name: value.requires_grad_() for name, value in state.params.items()}
    optimizer = torch.optim.AdamW(params.values(), weight_decay=training["weight_decay"], fused=True)
    state.restore(optimizer)
    checkpoint = state.step
    loss_sum = torch.zeros(len(cohort.names), device=images.device)
    precision = training.get("precision", "fp32")
    low = torch.bfloat16 if precision == "bf16" else None
    model.train()
    for step in range(state.step, training["steps"]):
        x0, t, eps = _batch(cohort, images, step, training["batch"], len(abar))
        rate = learning_rate(step, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with tf32(precision == "tf32"):
            x_t = add_noise(abar, x0, t, eps)
            losses = backward(model, params, cohort, step, x_t, t, eps, low, training.get("at_once"))  # [M]
        _finite(losses, cohort, f"loss at step {step}", checkpoint)
        clip_each(params, training["clip_norm"])
        optimizer.step()
        average(state.ema, params, min(training["ema_decay"], (1 + step) / (10 + step)))
        loss_sum += losses
        done = step + 1
        if done % training["log_every"] == 0 or done == training["steps"]:
            mean = loss_sum / ((done - 1) % training["log_every"] + 1)
            spread = {"loss": mean.mean().item(), "loss_min": mean.min().item(), "loss_max": mean.max().item()}
            on_log({"step": done, "learning_rate": rate} | spread)
            loss_sum.zero_()
        if done % training["checkpoint_every"] == 0 or done == training["steps"]:
            weights = sum(value.detach().flatten(1).sum(1) for value in (*params.values(), *state.ema.values()))
            _finite(weights, cohort, f"sum of weights after step {step}", checkpoint)
            if done < training["steps"]:
                on_checkpoint(State.capture(done, params, state.ema, optimizer))
                checkpoint = done
    model.eval()
    return state.ema


def backward(
    model: nn.Module,
    params: Stack,
    cohort: Cohort,
    step: int,
    x_t: Tensor,
    t: Tensor,
    eps: Tensor,
    low: torch.dtype | None = None,
    at_once: int | None = None,
) -> Tensor:
    """Losses [M] on x_t and eps [M, B, C, H, W], t [M, B]; their gradients are added to those of `params`.

    The network runs in the precision `low` where one is given; losses and gradients are in that of the weights. All
    models at once, or `at_once` in a pass; one by one where the module has dropout: each model's masks come from its
    own stream. What a pass holds is free before the next.
    """
    dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    size = 1 if dropout else at_once or len(t)
    losses = []
    for start in range(0, len(t), size):
        part = slice(start, start + size)
        if dropout:
            stream = cohort.streams[part.start]
            torch.manual_seed(torch_seed(stream.seed, "dropout", *stream.names, step))
        weights = {name: value[part] for name, value in params.items()}
        if low is None:
            predicted = predict(model, weights, x_t[part], t[part])  # [M, B, C, H, W]
        else:
            rounded = {name: value.to(low) for name, value in weights.items()}
            predicted = predict(model, rounded, x_t[part].to(low), t[part]).to(eps.dtype)
        loss = (predicted - eps[part]).square().flatten(1).mean(1)
        loss.sum().backward()
        losses.append(loss.detach())
    return torch.cat(losses)


def learning_rate(step: int, training: dict[str, Any]) -> float:
    """Linear warm-up to `learning_rate`, then cosine decay to `final_learning_rate` times it after the last step."""
    peak, warmup, final = training["learning_rate"], training["warmup_steps"], training["final_learning_rate"]
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, training["steps"] - warmup)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


@torch.no_grad()
def clip_each(params: Stack, limit: float) -> None:
    """Scale the gradient of each model to an L2 norm of at most `limit` over all its parameters."""
    # In the order of the names: a resumed run reads its parameters in another order, and sums must not differ.
    squares = [params[name].grad.flatten(1).square().sum(1) for name in sorted(params)]  # each [M]
    norm = torch.stack(squares).sum(0).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)  # [M]
    for value in params.values():
        value.grad.mul_(scale.view(-1, *[1] * (value.dim() - 1)))


@torch.no_grad()
def average(ema: Stack, params: Stack, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * params, in place."""
    torch._foreach_lerp_(list(ema.values()), [value.detach() for value in params.values()], 1 - decay)


def _batch(cohort: Cohort, images: Tensor, step: int, size: int, timesteps: int) -> tuple[Tensor, Tensor, Tensor]:
    """x0 [M, B, C, H, W], t [M, B] and eps [M, B, C, H, W] of one step; a shared stream is drawn once."""
    examples = cohort.members.shape[1]
    drawn = {
        stream: batch(stream, step, examples, size, timesteps, images.shape[1:])
        for stream in dict.fromkeys(cohort.streams)
    }
    positions, t, eps = (torch.stack(parts).to(images.device) for parts in _columns(drawn, cohort.streams))
    rows = cohort.members.gather(1, positions)  # [M, B]
    return images[rows], t, eps


def _columns(drawn: dict[Stream, tuple[Tensor, ...]], streams: Sequence[Stream]) -> zip:
    return zip(*(drawn[stream] for stream in streams), strict=True)


def _finite(values: Tensor, cohort: Cohort, what: str, checkpoint: int) -> None:
    """StudyError naming the first model whose value in [M] is NaN or infinite."""
    if not torch.isfinite(values).all():
        first = int((~torch.isfinite(values)).nonzero()[0])
        raise StudyError(
            f"training of {cohort.names[first]}: {what} is {values[first].item()}; last good checkpoint: "
            f"step {checkpoint}. Lower training.learning_rate or training.clip_norm."
        )
