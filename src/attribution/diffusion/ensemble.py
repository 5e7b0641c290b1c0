"""Many models in one computation: weights stacked along a first axis M, run by torch.func.

A stack is a dict parameter name -> [M, ...]. vmap turns each Linear into one baddbmm over the M models and keeps the
models apart: no model sees another's data or gradients.

Shape letters: M models, R rows, C H W image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Stack = dict[str, Tensor]


def stack(models: Sequence[dict[str, Tensor]]) -> Stack:
    """Stack M models of one architecture: name -> [M, ...]."""
    return {name: torch.stack([model[name] for model in models]) for name in models[0]}


def member(params: Stack, m: int) -> dict[str, Tensor]:
    """Model m of a stack: name -> [...]."""
    return {name: value[m] for name, value in params.items()}


def predict(model: nn.Module, params: Stack, x: Tensor, t: Tensor) -> Tensor:
    """Predicted noise [M, R, C, H, W] of each model.

    x is [M, R, C, H, W] with t [M, R] (each model its own rows) or [R, C, H, W] with t [R] (all models the same rows).
    Dropout, where the module is in training mode and has any, draws from torch's global generator. One model alone is
    run without vmap, which would turn its convolutions into grouped ones and its attention into a plain product.
    """
    rows = 0 if t.dim() == 2 else None
    if len(next(iter(params.values()))) == 1:
        own = (x, t) if rows is None else (x[0], t[0])
        return functional_call(model, member(params, 0), own).unsqueeze(0)
    run = vmap(lambda p, x, t: functional_call(model, p, (x, t)), in_dims=(0, rows, rows), randomness="different")
    return run(params, x, t)


def loaded(model: nn.Module, params: dict[str, Tensor]) -> nn.Module:
    """The module with these weights in place, e.g. to hook its layers; strict about names and shapes."""
    model.load_state_dict(params, strict=True)
    return model
