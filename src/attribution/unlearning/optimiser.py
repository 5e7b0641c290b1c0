"""One optimiser step of many models at once, each on its own gradient; all have taken the same number of steps.

AdamW as of Loshchilov & Hutter 2019 with torch's defaults (betas 0.9 and 0.999, eps 1e-8). Written out, because models
leave the stack when they are done, and torch's optimisers keep their state by tensor.

Shape letters: M models.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from attribution.diffusion.ensemble import Stack

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass
class AdamW:
    """Moments of a stack's gradients, name -> [M, ...], after `step` steps."""

    learning_rate: float
    weight_decay: float
    step: int = 0
    first: Stack = field(default_factory=dict)
    second: Stack = field(default_factory=dict)

    @torch.no_grad()
    def update(self, weights: Stack, gradients: Stack) -> None:
        """Change the weights in place."""
        self.step += 1
        for name, gradient in gradients.items():
            m = self.first.setdefault(name, torch.zeros_like(gradient)).lerp_(gradient, 1 - BETA1)
            v = self.second.setdefault(name, torch.zeros_like(gradient)).lerp_(gradient.square(), 1 - BETA2)
            scale = (v / (1 - BETA2**self.step)).sqrt_().add_(EPS)
            weights[name].mul_(1 - self.learning_rate * self.weight_decay)
            weights[name].addcdiv_(m, scale, value=-self.learning_rate / (1 - BETA1**self.step))

    def keep(self, models: Tensor) -> None:
        """Forget the moments of all models but these."""
        self.first = {name: value[models] for name, value in self.first.items()}
        self.second = {name: value[models] for name, value in self.second.items()}
