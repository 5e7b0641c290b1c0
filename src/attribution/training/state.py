"""The state of a training run: all that a resumed run needs to equal an uninterrupted one.

Randomness needs no state (training/stream.py), so this is the step, the weights, their moving average and AdamW's two
moments. It goes to and from a flat dict of tensors for safetensors.

Shape letters: M models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attribution.diffusion.ensemble import Stack

PARTS = ("params", "ema", "exp_avg", "exp_avg_sq")


@dataclass
class State:
    """After `step` optimiser steps: weights, averaged weights and AdamW moments, each name -> [M, ...]."""

    step: int
    params: Stack
    ema: Stack
    exp_avg: Stack = field(default_factory=dict)
    exp_avg_sq: Stack = field(default_factory=dict)

    @classmethod
    def first(cls, params: Stack) -> "State":
        """The state before the first step."""
        return cls(0, params, {name: value.clone() for name, value in params.items()})

    @classmethod
    def capture(cls, step: int, params: Stack, ema: Stack, optimizer: torch.optim.Optimizer) -> "State":
        """The state now; tensors are shared, not copied: save it before the next step."""
        moments = {name: optimizer.state[value] for name, value in params.items()}
        return cls(
            step,
            {name: value.detach() for name, value in params.items()},
            ema,
            {name: moment["exp_avg"] for name, moment in moments.items()},
            {name: moment["exp_avg_sq"] for name, moment in moments.items()},
        )

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the moments back into a fresh optimiser over `params`, in the order of this state's parameters."""
        if not self.exp_avg:
            return
        for name, value in zip(self.params, optimizer.param_groups[0]["params"], strict=True):
            optimizer.state[value] = {
                "step": torch.tensor(float(self.step), device=value.device),
                "exp_avg": self.exp_avg[name],
                "exp_avg_sq": self.exp_avg_sq[name],
            }

    def to(self, device: torch.device) -> "State":
        """The same state with every tensor on `device`."""
        parts = {part: {name: value.to(device) for name, value in getattr(self, part).items()} for part in PARTS}
        return State(self.step, **parts)

    def flat(self) -> dict[str, Tensor]:
        """All tensors under names "<part>/<parameter>"."""
        return {f"{part}/{name}": value for part in PARTS for name, value in getattr(self, part).items()}

    @classmethod
    def unflat(cls, step: int, tensors: Mapping[str, Tensor]) -> "State":
        """The inverse of `flat`."""
        parts: dict[str, Stack] = {part: {} for part in PARTS}
        for key, value in tensors.items():
            part, name = key.split("/", 1)
            parts[part][name] = value
        return cls(step, **parts)
