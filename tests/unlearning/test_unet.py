"""Unlearning of a UNet: convolutions and attention in a stack, weights that are shared, one model as in a cohort."""

import pytest
import torch

from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import loaded
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.parameter_kinds import trainable
from attribution.unlearning import bank as banks
from attribution.unlearning.losses import bank_losses
from attribution.unlearning.mirrored import unlearn

SETTINGS = {"batch": 3, "retain": 1.0, "forget": 0.2, "bounded": True, "stop": 2.0, "max_steps": 2}
SETTINGS |= {"learning_rate": 0.001, "weight_decay": 0.01}


@pytest.mark.parametrize("kinds", [["hidden", "attention"], ["input", "hidden", "attention", "time", "output", "norm"]])
def test_models_of_a_stack_are_those_of_each_alone(kinds: list[str], unet: dict) -> None:
    """Weights, and losses at a bank, of three queries together and of the second alone; nothing else is trained."""
    shape, generator = (1, 8, 8), torch.Generator().manual_seed(0)
    model = loaded(build(unet, shape), initial(unet, shape, 0, "test")).double().requires_grad_(False)
    params = {name: value.detach() for name, value in model.named_parameters()}
    chosen = set(trainable(model, kinds, True))
    frozen, trained = ({n: v for n, v in params.items() if (n in chosen) == inside} for inside in (False, True))
    images = torch.rand(4, *shape, generator=generator, dtype=torch.float64) * 2 - 1
    abar = alphas_cumprod({"timesteps": 20, "beta_schedule": "linear", "beta_start": 0.01, "beta_end": 0.3}).double()
    bank = banks.draw(0, "main", {"draws": 2, "grid": "uniform", "fraction": 1.0, "shared": "all"}, abar, shape)

    def forget(queries):
        found = unlearn(model, frozen, trained, queries, images, abar, 1.0, SETTINGS, 0)
        names = [str(m) for m in range(len(queries))]
        measured = bank_losses(model, frozen, found.weights, names, images, list("abcd"), bank, abar, 100)
        return found.weights, torch.cat([part for _, part in measured], 1)

    together, losses = forget(images[:3])
    alone, own = forget(images[1:2])
    assert set(together) == chosen
    for name, value in together.items():
        assert not torch.equal(value[1], params[name])
        torch.testing.assert_close(value[1], alone[name][0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(losses[1], own[0], rtol=1e-6, atol=1e-9)
