"""The autoencoder of a latent diffusion model (Rombach et al. 2022): diffusers' AutoencoderKL, frozen.

An image x in [-1, 1] stands as its latent s E[z | x], the mode of the encoder's Gaussian times the model's own scaling
factor, which gives latents a variance of about one. Models are trained on latents alone.

Its weights come from a folder as save_pretrained writes it, and are kept with its configuration in one file.

Shape letters: N images, C H W image, c h w latent.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attribution.core.rng import rng
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

TINY = {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "sample_size": 32,
    "scaling_factor": 0.5,
}


def from_folder(folder: Path) -> "AutoencoderKL":
    """The model of a local folder; nothing is fetched and no pickle is read. StudyError where it is not whole."""
    if not (folder / "config.json").is_file():
        raise StudyError(f"{folder}: holds no config.json; put a diffusers AutoencoderKL there (save_pretrained)")
    try:
        return _class().from_pretrained(folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StudyError(f"{folder}: truncated or no AutoencoderKL ({reason})") from error


def save(path: Path, model: "AutoencoderKL") -> None:
    """One file: weights, and the configuration as its meta; the same model gives the same bytes."""
    config = {name: value for name, value in dict(model.config).items() if not name.startswith("_")}
    save_tensors(path, model.state_dict(), {"autoencoder": json.loads(json.dumps(config))})


def load(path: Path, device: torch.device) -> "AutoencoderKL":
    """What `save` wrote, in evaluation mode. Raises StudyError where the file is damaged or of something else."""
    config = load_meta(path).get("autoencoder")
    if config is None:
        raise StudyError(f"{path}: is no autoencoder")
    model = _class().from_config(config)
    model.load_state_dict(load_tensors(path, "pt"), strict=True)
    return model.to(device).eval().requires_grad_(False)


def tiny() -> "AutoencoderKL":
    """A small model of random weights from a named stream: 3 x 32 x 32 images, 4 x 8 x 8 latents."""
    model = _class()(**TINY)
    for name, value in model.state_dict().items():
        if value.dim() > 1:  # norms and biases stay as they begin: ones and zeros
            drawn = rng(0, "tiny autoencoder", name).random(value.shape, dtype=np.float32)  # no machine rounds these
            value.copy_((torch.from_numpy(drawn) - 0.5) * (12 / value[0].numel()) ** 0.5)
        else:
            value.fill_(float("norm" in name and name.endswith("weight")))
    return model


@torch.no_grad()
def encode(model: "AutoencoderKL", images: Tensor, batch: int) -> Tensor:
    """Latents [N, c, h, w] of images [N, C, H, W] in [-1, 1], or of bytes 0..255, on the CPU; `batch` at a time."""
    device = next(model.parameters()).device
    parts = []
    for few in images.split(batch):
        x = few.to(device)
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        parts.append((model.encode(x).latent_dist.mode() * model.config.scaling_factor).cpu())
    return torch.cat(parts)


@torch.no_grad()
def decode(model: "AutoencoderKL", latents: Tensor, batch: int) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] of latents [N, c, h, w], on the CPU."""
    device = next(model.parameters()).device
    scaled = latents / model.config.scaling_factor
    return torch.cat([model.decode(few.to(device)).sample.clamp(-1, 1).cpu() for few in scaled.split(batch)])


def _class() -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL
