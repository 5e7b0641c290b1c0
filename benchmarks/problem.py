"""One problem for every library: a UNet with convolutions, attention and a time embedding, on 8 x 8 digits.

176,849 parameters, 175,569 of them in Linear and Conv2d layers; 500 training images and 50 queries with E = 4 draws of
timestep and noise each, the same for all. Factors are fitted on the 500 x 4 rows singly; scores use gradients of the
mean over an image's draws. Weights are random: what is timed does not depend on them, and agreement is asserted.

Shape letters: R = N E rows, N examples, E draws.
"""

import torch
from torch import Tensor, nn

from attribution.curvature.rows import Batch
from attribution.data import digits
from attribution.diffusion.denoisers import build
from attribution.diffusion.noise import add_noise, alphas_cumprod, draws

N, QUERIES, E = 500, 50, 4
PARAMETERS = 176_849
SHAPE = (1, 8, 8)
DAMPING = 0.1  # of the mean eigenvalue
UNET = {
    "kind": "unet",
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "dropout": 0.0,
    "resnet_time_scale_shift": "default",
}
DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def model() -> nn.Module:
    """The UNet with its first weights, in evaluation mode."""
    torch.manual_seed(0)
    unet = build(UNET, SHAPE)
    count = sum(p.numel() for p in unet.parameters())
    if count != PARAMETERS:
        raise SystemExit(f"the UNet has {count} parameters, the problem is stated for {PARAMETERS}")
    return unet


def rows(part: str) -> Batch:
    """The images of `part`, train (N) or queries, with E draws each: Batch of [R, ...] tensors, example-major."""
    images = torch.from_numpy(digits.load().images)
    first, count = {"train": (0, N), "queries": (N, QUERIES)}[part]
    names = range(first, first + count)
    abar = alphas_cumprod(DIFFUSION)
    t, eps = draws(0, part, names, 0, E, len(abar), SHAPE)
    x_t = add_noise(abar, images[first : first + count, None], t, eps)  # [N, E, C, H, W]
    return Batch((x_t.flatten(0, 1), t.flatten()), eps.flatten(0, 1), count, E)


def cut(batch: Batch, examples: int) -> list[Batch]:
    """The same rows in batches of at most `examples` examples."""
    step = examples * batch.draws
    parts = zip(*(tensor.split(step) for tensor in (*batch.inputs, batch.target)), strict=True)
    return [Batch((x, t), y, len(x) // batch.draws, batch.draws) for x, t, y in parts]


def singly(batch: Batch) -> Batch:
    """Every row as an example of its own."""
    return Batch(batch.inputs, batch.target, batch.rows, 1)


def dataset(batch: Batch) -> torch.utils.data.TensorDataset:
    """x [E, C, H, W], t [E], eps [E, C, H, W] of every example; no axis for draws where there is one a row."""
    parts = (*batch.inputs, batch.target)
    if batch.draws == 1:
        return torch.utils.data.TensorDataset(*parts)
    return torch.utils.data.TensorDataset(*(part.unflatten(0, (batch.examples, batch.draws)) for part in parts))


def row_losses(output: Tensor, target: Tensor) -> Tensor:
    """[R] mean squared error of every row."""
    return (output - target).square().flatten(1).mean(1)
