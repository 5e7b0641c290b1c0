"""The noise that training examples met while a model was trained, as rows for gradients.

TracIn is a sum over training steps, each of which saw an example at one timestep with one noise. Diffusion-TracIn (Xie
et al. 2024, "Data attribution for diffusion models: timestep-induced bias in influence estimation") therefore replays
at a checkpoint the timestep that the example had in the checkpoint's epoch. Timestep and noise are replayed here; the
authors' released code draws the noise anew.

Shape letters: N training examples, n some of them, B batch, C H W image.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from attribution.curvature.rows import Batch
from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError

Meeting = tuple[Tensor, Tensor, Tensor]  # one step's examples [B], t [B], eps [B, C, H, W]


def last_met(meetings: Iterable[Meeting], examples: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """t [N] and eps [N, C, H, W] that each of N examples met last; `meetings` run from the latest step back.

    No more meetings are taken than it needs: one epoch, or more where an epoch leaves a remainder of examples out.
    Raises StudyError where an example is in none of them.
    """
    t, eps = torch.zeros(examples, dtype=torch.int64), torch.zeros(examples, *shape)
    waiting = torch.ones(examples, dtype=torch.bool)
    for rows, t_met, eps_met in meetings:
        new = waiting[rows]
        t[rows[new]], eps[rows[new]] = t_met[new], eps_met[new]
        waiting[rows] = False
        if not waiting.any():
            return t, eps
    raise StudyError(
        f"{int(waiting.sum())} of {examples} examples were in no batch before the checkpoint; lower checkpoints.count"
    )


def replayed(images: Tensor, abar: Tensor, t: Tensor, eps: Tensor) -> Batch:
    """One row for each image [n, C, H, W] at the t [n] and eps [n, C, H, W] that it met, on the images' device."""
    t, eps = t.to(images.device), eps.to(images.device)
    return Batch(inputs=(add_noise(abar, images, t, eps), t), target=eps, examples=len(images), draws=1)
