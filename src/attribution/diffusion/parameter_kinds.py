"""Which kind of module each parameter of a denoiser belongs to, by the modules' classes and places.

    input      what the noised image enters by: the MLP's first layer, the UNet's first convolution
    hidden     layers between input and output: the MLP's hidden layers, the UNet's residual blocks and resampling
    attention  projections of attention blocks
    time       layers that see the timestep alone: its embedding, its projections, the gate of the MLP's input
    output     what the predicted noise leaves by
    norm       scales and shifts of normalisations

Serrà et al. 2026 (MUCS) train the weights of the hidden layers alone: `hidden`, without biases.
"""

from collections.abc import Sequence

from torch import nn

from attribution.diffusion.denoisers import MLP, UNet
from attribution.errors import StudyError

KINDS = ("input", "hidden", "attention", "time", "output", "norm")


def parameter_kinds(model: nn.Module) -> dict[str, str]:
    """Parameter name -> kind, in the model's order. Raises StudyError for a module that is no denoiser of the study."""
    if isinstance(model, MLP):
        places = {"inner": "input", "outer": "output", "skip": "time"}
    elif isinstance(model, UNet):
        places = _places(model)
    else:
        raise StudyError(f"kinds of parameters are known of MLP and UNet, not of {type(model).__name__}")
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.GroupNorm | nn.LayerNorm)}
    kinds = {}
    for name, _ in model.named_parameters():
        owner = name.rpartition(".")[0]
        within = [place for place in places if f"{owner}.".startswith(f"{place}.")]
        kinds[name] = "norm" if owner in norms else places[max(within, key=len)] if within else "hidden"
    return kinds


def trainable(model: nn.Module, kinds: Sequence[str], biases: bool) -> list[str]:
    """Names of the parameters of these kinds, in the model's order; without `biases` only those named weight.

    Raises StudyError for a kind that is not known, or that the model has no parameter of.
    """
    found = parameter_kinds(model)
    if absent := [kind for kind in kinds if kind not in found.values()]:
        present = ", ".join(kind for kind in KINDS if kind in found.values())
        raise StudyError(f"parameters: this denoiser has none of kind {absent[0]!r} (it has {present})")
    return [name for name, kind in found.items() if kind in kinds and (biases or not name.endswith("bias"))]


def _places(model: UNet) -> dict[str, str]:
    """Name of a module of the UNet -> kind of the parameters in it, the innermost name counts."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.embeddings import TimestepEmbedding
    from diffusers.models.resnet import ResnetBlock2D

    places = {"unet.conv_in": "input", "unet.conv_out": "output"}
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            places[name] = "attention"
        elif isinstance(module, TimestepEmbedding):
            places[name] = "time"
        elif isinstance(module, ResnetBlock2D):
            places[f"{name}.time_emb_proj"] = "time"
    return places
