"""Denoisers: eps_theta(x_t, t), an MLP for 8x8 images and diffusers' UNet2DModel.

Both are plain modules called as model(x [R, C, H, W], t [R]) -> [R, C, H, W]. `initial` draws a model's first weights
from a named stream, so they depend on the names alone and not on what was built before.

Shape letters: R rows (one noised image each), C H W image, P parameters.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attribution.core.rng import Name, torch_seed
from attribution.errors import StudyError

UNET_KEYS = (
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "norm_num_groups",
    "attention_head_dim",
    "downsample_padding",
    "dropout",
    "resnet_time_scale_shift",
)
OPTIONAL_KEYS = ("flip_sin_to_cos", "freq_shift", "norm_eps")  # diffusers' own values where left out


class MLP(nn.Module):
    """Residual SiLU layers with the time features concatenated to the input of each layer.

    h_1 = silu(W_1 [x, tau(t)]);  h_{l+1} = h_l + silu(W_{l+1} [h_l, tau(t)]);
    eps = W_out [h_L, tau(t)] + (W_skip tau(t)) * x.
    tau(t) is the sinusoidal embedding of Vaswani et al. 2017 with `time_features` entries. The gated input is what an
    MLP cannot easily pass through its layers, and most of the noise at large t (cf. c_skip of Karras et al. 2022).
    """

    def __init__(self, shape: tuple[int, int, int], width: int, depth: int, time_features: int) -> None:
        super().__init__()
        pixels = math.prod(shape)
        self.time_features = time_features
        self.inner = nn.Linear(pixels + time_features, width)
        self.hidden = nn.ModuleList(nn.Linear(width + time_features, width) for _ in range(depth - 1))
        self.outer = nn.Linear(width + time_features, pixels)
        self.skip = nn.Linear(time_features, pixels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        tau = time_embedding(t, self.time_features).to(x.dtype)  # [R, time_features]
        flat = x.flatten(1)  # [R, C * H * W]
        h = F.silu(self.inner(torch.cat([flat, tau], dim=-1)))  # [R, width]
        for layer in self.hidden:
            h = h + F.silu(layer(torch.cat([h, tau], dim=-1)))
        return (self.outer(torch.cat([h, tau], dim=-1)) + self.skip(tau) * flat).view_as(x)


class GroupNorm(nn.GroupNorm):
    """The same normalisation through the operator that torch.func has a batching rule for."""

    def forward(self, x: Tensor) -> Tensor:
        rows, channels = x.shape[:2]
        positions = math.prod(x.shape[2:])
        arguments = self.weight, self.bias, rows, channels, positions, self.num_groups, self.eps
        return torch.native_group_norm(x.contiguous(), *arguments)[0]


class UNet(nn.Module):
    """diffusers' UNet2DModel, returning the tensor itself, with attention and norms that torch.func can batch."""

    def __init__(self, shape: tuple[int, int, int], arguments: dict[str, Any]) -> None:
        super().__init__()
        from diffusers.models.attention_processor import Attention, AttnProcessor
        from diffusers.models.unets.unet_2d import UNet2DModel

        channels, height, _ = shape
        self.unet = UNet2DModel(sample_size=height, in_channels=channels, out_channels=channels, **arguments)
        for module in list(self.unet.modules()):
            if isinstance(module, Attention):
                module.set_processor(AttnProcessor())
            for name, child in module.named_children():
                if type(child) is nn.GroupNorm:
                    setattr(module, name, GroupNorm(child.num_groups, child.num_channels, child.eps, child.affine))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]


def build(denoiser: dict[str, Any], shape: tuple[int, int, int]) -> nn.Module:
    """The module of the config's `denoiser` section, for images of `shape` (C, H, W), in evaluation mode."""
    if denoiser["kind"] == "mlp":
        return MLP(shape, denoiser["width"], denoiser["depth"], denoiser["time_features"]).eval()
    if denoiser["kind"] == "unet":
        arguments = {name: denoiser[name] for name in UNET_KEYS}
        return UNet(shape, arguments | {name: denoiser[name] for name in OPTIONAL_KEYS if name in denoiser}).eval()
    raise StudyError(f"denoiser.kind: {denoiser['kind']!r} is not known (allowed: mlp, unet)")


def initial(denoiser: dict[str, Any], shape: tuple[int, int, int], seed: int, *names: Name) -> dict[str, Tensor]:
    """First weights of the stream called `names`: parameter name -> tensor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "initial", *names))
        return {name: value.detach() for name, value in build(denoiser, shape).named_parameters()}


def time_embedding(t: Tensor, features: int) -> Tensor:
    """Sinusoidal features [R, features] of timesteps t [R]: cosines, then sines, periods 2 pi .. 10,000 * 2 pi."""
    half = features // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)  # [features / 2]
    angle = t[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
