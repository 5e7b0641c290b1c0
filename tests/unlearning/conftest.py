"""A tiny denoiser in float64 that learned a dozen images of 4 x 4 pixels, and what unlearning is asked of it."""

from types import SimpleNamespace

import pytest
import torch

from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import loaded
from attribution.diffusion.noise import add_noise, alphas_cumprod

DENOISER = {"kind": "mlp", "width": 32, "depth": 3, "time_features": 8}
DIFFUSION = {"timesteps": 50, "beta_schedule": "linear", "beta_start": 0.002, "beta_end": 0.3}
SHAPE = (1, 4, 4)


@pytest.fixture(scope="session")
def world():
    """model, params, abar, images [12, 1, 4, 4] (the last two are equal), names, frozen and trained hidden weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(12, *SHAPE, generator=generator, dtype=torch.float64) > 0.5) * 2.0 - 1
    images[11] = images[10]
    abar = alphas_cumprod(DIFFUSION).double()
    model = loaded(build(DENOISER, SHAPE), initial(DENOISER, SHAPE, 0, "test")).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1200):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (1 - step / 1200)
        rows = torch.randint(12, (64,), generator=generator)
        t = torch.randint(50, (64,), generator=generator)
        eps = torch.randn(64, *SHAPE, generator=generator, dtype=torch.float64)
        loss = (model(add_noise(abar, images[rows], t, eps), t) - eps).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    params = {name: value.detach().clone() for name, value in model.named_parameters()}
    chosen = ("hidden.0.weight", "hidden.1.weight")
    yield SimpleNamespace(
        model=model.requires_grad_(False),
        params=params,
        abar=abar,
        images=images,
        names=[f"example/{n}" for n in range(12)],
        trained={name: params[name] for name in chosen},
        frozen={name: value for name, value in params.items() if name not in chosen},
        loss=loss.item(),
    )
    torch.set_num_threads(before)
