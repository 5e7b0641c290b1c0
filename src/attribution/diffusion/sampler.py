"""Deterministic sampling: DDIM (Song et al. 2021) with every random number keyed by (sample, step).

eta = 0 is deterministic given x_T; eta = 1 is ancestral sampling with the DDPM posterior variance. The noise of a
sample depends on its key alone, so a counterfactual model can be given exactly the noise of the factual one.

Shape letters: Q samples, C H W image.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import Name, rng

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

Denoise = Callable[[Tensor, Tensor], Tensor]  # x [Q, C, H, W], t [Q] -> eps [Q, C, H, W]


@torch.no_grad()
def sample(
    denoise: Denoise,
    diffusion: dict[str, Any],
    sampling: dict[str, Any],
    seed: int,
    samples: Sequence[Name],
    shape: Sequence[int],
    device: torch.device,
) -> Tensor:
    """Images [Q, C, H, W] of the samples called `samples`, by `sampling` steps, eta and clip: with it in [-1, 1]."""
    scheduler = ddim(diffusion, sampling)
    x = keyed_normal(seed, "sample", samples, "x_T", shape).to(device)
    for k, t in enumerate(scheduler.timesteps):
        eps = denoise(x, t.to(device).expand(len(x)))
        noise = keyed_normal(seed, "sample", samples, k, shape).to(device) if sampling["eta"] > 0 else None
        x = scheduler.step(
            eps, t, x, eta=sampling["eta"], use_clipped_model_output=sampling["clip"], variance_noise=noise
        ).prev_sample
    return x.clamp(-1, 1) if sampling["clip"] else x


def ddim(diffusion: dict[str, Any], sampling: dict[str, Any]) -> "DDIMScheduler":
    """The scheduler of the config's `diffusion` and `sampling` sections, its timesteps set."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # seconds, which only jobs that sample spend

    scheduler = DDIMScheduler(
        num_train_timesteps=diffusion["timesteps"],
        beta_schedule=diffusion["beta_schedule"],
        beta_start=diffusion["beta_start"],
        beta_end=diffusion["beta_end"],
        clip_sample=sampling["clip"],
        set_alpha_to_one=True,
    )
    scheduler.set_timesteps(sampling["steps"])
    return scheduler


def keyed_normal(seed: int, stream: str, names: Sequence[Name], step: Name, shape: Sequence[int]) -> Tensor:
    """Standard normal noise [Q, C, H, W] of one step of a stream."""
    noise = [rng(seed, stream, name, step).standard_normal(shape, dtype=np.float32) for name in names]
    return torch.from_numpy(np.stack(noise))
