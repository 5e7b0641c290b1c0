"""Small denoisers of both kinds, and the schedule of the studies."""

import pytest
import torch

DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
MLP = {"kind": "mlp", "width": 7, "depth": 3, "time_features": 4}
SHAPE = (1, 4, 4)


@pytest.fixture(params=["mlp", "unet"])
def denoiser(request, unet):
    """The config section of a denoiser of each kind."""
    return {"mlp": MLP, "unet": unet}[request.param]


@pytest.fixture
def diffusion():
    return dict(DIFFUSION)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
