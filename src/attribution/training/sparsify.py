"""Pruning by magnitude, and training that keeps what was pruned at zero.

Lu et al. 2025 prune channels, so that a pruned network is also faster; here single weights are masked, layer by layer,
which works for every denoiser and saves the steps of training alone, the larger part by their own figures
(docs/contributors.md). Biases, norms and other vectors stay whole.
"""

from typing import Any

import torch
from torch import Tensor, nn

from attribution.diffusion.ensemble import Stack, stack
from attribution.training.loop import Cohort, train
from attribution.training.state import State

Masks = dict[str, Tensor]


def magnitude_masks(params: dict[str, Tensor], sparsity: float) -> Masks:
    """True where a weight stays: in every matrix or filter bank, all but the round(sparsity n) smallest of its n."""
    masks = {}
    for name, value in params.items():
        masks[name] = torch.ones_like(value, dtype=torch.bool)
        if value.dim() > 1 and (pruned := round(sparsity * value.numel())):
            smallest = value.abs().flatten().topk(pruned, largest=False).indices
            masks[name].view(-1)[smallest] = False
    return masks


def finetune(
    model: nn.Module,
    start: dict[str, Tensor],
    masks: Masks,
    cohort: Cohort,
    images: Tensor,
    abar: Tensor,
    training: dict[str, Any],
    choice: dict[str, Any],
    **hooks: Any,
) -> Stack:
    """Train copies of `start`, one a model of the cohort, pruned weights at zero; averaged weights, name -> [M, ...].

    `choice` (steps, learning_rate) stands in the place of the study's `training`, without warm-up; `hooks` are those of
    training.loop.train. A pruned weight gets no gradient, so that neither AdamW's moments nor its decay move it.
    """
    masked = {name: value * masks[name] for name, value in start.items()}
    state = State.first(stack([masked] * len(cohort.names)))
    for name, value in state.params.items():
        value.requires_grad_().register_hook(lambda gradient, kept=masks[name]: gradient * kept)
    settings = training | choice | {"warmup_steps": 0}
    return train(model, state, cohort, images, abar, settings, **hooks)
