"""Denoisers: their sizes, their first weights by name, and the UNet against the unmodified one of diffusers."""

import math

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from attribution.diffusion.denoisers import MLP, UNET_KEYS, GroupNorm, build, initial, time_embedding
from attribution.errors import StudyError

SHAPE = (1, 4, 4)
DIGITS = {"kind": "mlp", "width": 128, "depth": 3, "time_features": 32}


def rows(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, *SHAPE, generator=generator, dtype=dtype)
    return x, torch.randint(1000, (count,), generator=generator)


def test_parameters_of_the_default_study():
    """(64 + 32 + 1) 128 + 2 (128 + 32 + 1) 128 + (128 + 32 + 1) 64, and the gate of the input, (32 + 1) 64."""
    model = build(DIGITS, (1, 8, 8))
    assert sum(value.numel() for value in model.parameters()) == 63_936 + 2_112
    assert not model.training


def test_mlp_is_its_equations():
    model = MLP(SHAPE, 7, 3, 4).double()
    x, t = rows(5, torch.float64)
    tau = time_embedding(t, 4).double()
    silu = nn.functional.silu
    h = silu(model.inner(torch.cat([x.view(5, 16), tau], 1)))
    for layer in model.hidden:
        h = h + silu(layer(torch.cat([h, tau], 1)))
    expected = model.outer(torch.cat([h, tau], 1)) + model.skip(tau) * x.view(5, 16)
    assert len(model.hidden) == 2
    torch.testing.assert_close(model(x, t), expected.view(5, *SHAPE), rtol=1e-13, atol=1e-15)


def test_time_embedding_is_cosines_then_sines():
    t = torch.tensor([0, 1, 500, 999])
    found = time_embedding(t, 6)
    for row, value in zip(found, t.tolist(), strict=True):
        angles = [value * 10_000 ** (-k / 3) for k in range(3)]
        expected = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
        # float32 at an angle of 999: 1e-4. Sines first, or another base, is off by order 1.
        torch.testing.assert_close(row.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-4)
    every = time_embedding(torch.arange(1000), 32)
    assert torch.cdist(every, every).fill_diagonal_(1).min() > 0.05  # no two timesteps look alike


def test_timestep_and_image_both_matter(denoiser):
    model = build(denoiser, SHAPE)
    model.load_state_dict(initial(denoiser, SHAPE, 0, "x"))
    x, t = rows(2)
    with torch.no_grad():
        base = model(x, t)
        assert base.shape == x.shape
        assert (model(x, (t + 500) % 1000) - base).abs().max() > 1e-3
        assert (model(x + 1, t) - base).abs().max() > 1e-3


def test_first_weights_are_keyed_by_name(denoiser):
    one = initial(denoiser, SHAPE, 0, "crn", 0)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = initial(denoiser, SHAPE, 0, "crn", 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.keys() == again.keys() == dict(build(denoiser, SHAPE).named_parameters()).keys()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(value.requires_grad for value in one.values())
    weight = next(iter(one))
    for seed, names in ((0, ("crn", 1)), (1, ("crn", 0)), (0, ("own", 0))):
        assert not torch.isclose(initial(denoiser, SHAPE, seed, *names)[weight], one[weight]).all()


def test_first_weights_are_pinned():
    """The initialiser is torch's: a version of torch that changes it gives other models under the same names."""
    first = initial({"kind": "mlp", "width": 8, "depth": 2, "time_features": 4}, (1, 2, 2), 0, "crn", 0)
    expected = torch.tensor([-0.2663867175579071, 0.19457480311393738, 0.32448428869247437, 0.11934128403663635])
    torch.testing.assert_close(first["inner.weight"][0, :4], expected, rtol=1e-6, atol=0)


def test_group_norm_is_that_of_torch():
    ours, theirs = GroupNorm(2, 6, eps=1e-3), nn.GroupNorm(2, 6, eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    for name, value in theirs.named_parameters():
        value.data = torch.randn(6, generator=generator)
        ours.get_parameter(name).data = value.data
    for shape in ((3, 6, 4, 4), (3, 6, 5), (2, 6)):
        x = 3 + 2 * torch.randn(shape, generator=generator)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)
    strided = torch.randn(4, 4, 6, generator=generator).permute(1, 2, 0)  # attention hands it on like this
    torch.testing.assert_close(ours(strided), theirs(strided), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", ["default", "scale_shift"])
def test_unet_is_that_of_diffusers(unet, shift):
    unet = unet | {"resnet_time_scale_shift": shift}
    model = build(unet, SHAPE)
    first = initial(unet, SHAPE, 0, "x")
    generator = torch.Generator().manual_seed(0)
    for name in first:
        if "norm" in name:  # norms begin as 1 and 0, which would hide an exchange of them
            first[name] = torch.randn(first[name].shape, generator=generator)
    model.load_state_dict(first)
    arguments = {name: unet[name] for name in UNET_KEYS}
    reference = UNet2DModel(sample_size=4, in_channels=1, out_channels=1, **arguments).eval()
    reference.load_state_dict({name.removeprefix("unet."): value for name, value in first.items()})
    x, t = rows(4)
    with torch.no_grad():
        expected = reference(x, t).sample
        found = model(x, t)
    # One norm at eps 1e-6 in place of 1e-5, or attention with another scale, is off by more than 1e-4.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.05


def test_unet_replaces_every_norm(unet):
    model = build(unet, SHAPE)
    norms = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) > 10
    assert {type(module) for module in norms} == {GroupNorm}


def test_unknown_kind():
    with pytest.raises(StudyError, match=r"denoiser\.kind: 'transformer' is not known \(allowed: mlp, unet\)"):
        build({"kind": "transformer"}, SHAPE)
