"""The null loss: what a model that knows nothing reaches, the height at which forgetting is done.

For eps-prediction a zero output has loss E eps^2 = 1 in each dimension, at every noise level: `unit`. A network whose
last layer does not start at zero does slightly worse before training: `fresh` estimates that, over the training set and
the training distribution of noise, as Serrà et al. 2026 do. One number for all queries and all noise levels.

Shape letters: B batch, C H W image.
"""

import torch
from torch import Tensor, nn

from attribution.core.rng import rng
from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError
from attribution.unlearning.losses import square_error
from attribution.unlearning.noise import step_noise

BATCHES, SIZE = 200, 100  # of Serrà et al. 2026


@torch.no_grad()
def null_loss(kind: str, fresh: nn.Module, images: Tensor, abar: Tensor, seed: int) -> float:
    """The null loss by its definition, `unit` or `fresh`: `fresh` is a model with its first weights.

    Raises StudyError for an unknown definition.
    """
    if kind == "unit":
        return 1.0
    if kind != "fresh":
        raise StudyError(f"unlearning.null_loss: {kind!r} is not known (allowed: unit, fresh)")
    total = 0.0
    for number in range(BATCHES):
        rows = torch.from_numpy(rng(seed, "null", number).integers(len(images), size=SIZE)).to(images.device)
        t, eps = step_noise(seed, "null", number, SIZE, len(abar), images.shape[1:], images)
        total += square_error(fresh(add_noise(abar, images[rows], t, eps), t), eps).mean().item()
    return total / BATCHES
