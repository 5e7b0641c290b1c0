"""Gradients and curvature of the denoisers that the studies train, against autograd and torch.func, in float64."""

import pytest
import torch

from attribution.curvature import ekfac, kfac
from attribution.curvature.blocks import covered
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Batch, loss_gradient
from attribution.diffusion.denoisers import build

SHAPE = (1, 8, 8)
MLP = {"kind": "mlp", "width": 24, "depth": 3, "time_features": 8}


@pytest.fixture(params=["mlp", "unet"])
def model(request, unet):
    torch.manual_seed(0)
    # without padding diffusers pads on two sides itself, before a stride-2 convolution
    model = build({"mlp": MLP, "unet": unet | {"downsample_padding": 0}}[request.param], SHAPE).double()
    for module in model.modules():
        if hasattr(module, "upcast_softmax"):
            module.upcast_softmax = False  # diffusers casts attention scores to float32, also from float64
    return model


def rows(examples: int, draws: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    noise = [torch.randn(examples * draws, *SHAPE, generator=generator, dtype=torch.float64) for _ in range(2)]
    t = torch.randint(0, 1000, (examples * draws,), generator=generator)
    return Batch((noise[0], t), noise[1], examples, draws)


def test_example_gradients_equal_autograd(model):
    # One example at a time by a plain backward; a layer that is missed or doubled, or examples mixed, is off by 1.
    batch = rows(3, 4)
    found = example_gradients(model, batch, "separate", loss_gradient)
    assert list(found) == covered(model)
    parameters = [model.get_parameter(name) for name in covered(model)]
    for example in range(3):
        cut = slice(4 * example, 4 * example + 4)
        loss = ((model(*(x[cut] for x in batch.inputs)) - batch.target[cut]) ** 2).mean()
        for name, expected in zip(covered(model), torch.autograd.grad(loss, parameters), strict=True):
            torch.testing.assert_close(found[name][example].flatten(), expected.flatten(), rtol=1e-9, atol=1e-13)


def test_only_norms_are_left_out(model):
    left = {name for name, _ in model.named_parameters()} - set(covered(model))
    assert all("norm" in name for name in left)


def test_type2_ekfac_has_the_exact_trace(model):
    """trace(EK-FAC) = trace(F) = 2/(D R) sum_r |J_r|^2, block by block, with J by torch.func."""
    batch = rows(2, 1)
    options = dict(fisher="type2", bias="separate", generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [batch], sharing="expand", **options))
    found = ekfac.mean(ekfac.accumulate_eigenvalues(model, [batch], basis, **options))
    parameters = {name: model.get_parameter(name).detach() for name in covered(model)}

    def output(values, x, t):
        return torch.func.functional_call(model, values, (x[None], t[None])).flatten()

    J = torch.func.vmap(torch.func.jacrev(output), (None, 0, 0))(parameters, *batch.inputs)
    for name, value in found.items():
        exact = 2 / 64 / 2 * float(J[name].square().sum())
        assert float(value.sum()) == pytest.approx(exact, rel=1e-10, abs=1e-20)
