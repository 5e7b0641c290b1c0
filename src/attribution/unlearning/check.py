"""Did unlearning do its job? The query's and the training set's losses on noise that neither saw, before and after.

Shape letters: M queries (one model each), B batch, C H W image.
"""

import torch
from torch import Tensor, nn

from attribution.core.rng import rng
from attribution.diffusion.ensemble import Stack
from attribution.diffusion.noise import add_noise
from attribution.unlearning.losses import respond, square_error
from attribution.unlearning.noise import step_noise

BATCHES, SIZE = 5, 100  # fresh draws of each query, and as many of training examples


@torch.no_grad()
def fresh_losses(
    model: nn.Module,
    frozen: dict[str, Tensor],
    stack: Stack,
    queries: Tensor,
    images: Tensor,
    abar: Tensor,
    null: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Mean loss of each model on its query, bounded draw by draw by the null loss, and on training images: [M] each."""
    forgotten = retained = torch.zeros(len(queries), device=images.device)
    shape = images.shape[1:]
    for number in range(BATCHES):
        t, eps = step_noise(seed, "check/forget", number, SIZE, len(abar), shape, images)
        x_t = add_noise(abar, queries[:, None], t.expand(len(queries), -1), eps)  # [M, B, C, H, W]
        found = square_error(respond(model, frozen, stack, x_t, t), eps)
        forgotten = forgotten + found.clamp(max=null).mean(1) / BATCHES
        rows = torch.from_numpy(rng(seed, "check", number).integers(len(images), size=SIZE)).to(images.device)
        t, eps = step_noise(seed, "check/retain", number, SIZE, len(abar), shape, images)
        found = square_error(respond(model, frozen, stack, add_noise(abar, images[rows], t, eps), t), eps)
        retained = retained + found.mean(1) / BATCHES
    return forgotten, retained
