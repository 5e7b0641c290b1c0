"""Small denoisers of both kinds, and the schedule of the studies."""

import pytest
import torch

DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
MLP = {"kind": "mlp", "width": 7, "depth": 3, "time_features": 4}
UNET = {
    "kind": "unet",
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "dropout": 0.0,
    "resnet_time_scale_shift": "default",
}
SHAPE = (1, 4, 4)


@pytest.fixture(params=["mlp", "unet"])
def denoiser(request):
    """The config section of a denoiser of each kind."""
    return {"mlp": MLP, "unet": UNET}[request.param]


@pytest.fixture
def unet():
    return dict(UNET)


@pytest.fixture
def diffusion():
    return dict(DIFFUSION)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
