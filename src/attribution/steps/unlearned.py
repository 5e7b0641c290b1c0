"""Unlearned models in their files: what `unlearn` and `unlearn_newton` write, and others read.

A file holds a cohort of queries: "weights/<parameter>" [M, ...] of the parameters that were trained (all others are the
attributed model's), steps [M], reached [M] (whether the stop test was met), forget [M], and on fresh noise the losses
[M] query_before, query_after (bounded by the null loss), train_before, train_after. Meta: the queries' names and rows.

Shape letters: M queries (one model each).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.diffusion.ensemble import Stack
from attribution.errors import StudyError
from attribution.steps.loading import Examples
from attribution.unlearning.bank import Bank
from attribution.unlearning.check import fresh_losses
from attribution.unlearning.mirrored import Unlearned

WEIGHTS = "weights/"


@dataclass(frozen=True)
class Models:
    """The unlearned models of queries first..: names [M], the weights they share, their own [M, ...], and the rest."""

    first: int
    names: list[str]
    frozen: dict[str, Tensor]
    stack: Stack
    about: dict[str, Tensor]


def save(
    path: Path,
    unlearned: Unlearned,
    model: nn.Module,
    params: dict[str, Tensor],
    queries: Examples,
    first: int,
    data: Examples,
    abar: Tensor,
    null: float,
    seed: int,
) -> None:
    """Check the models of `queries`, the study's from row `first` on, on fresh noise, and write them."""
    stack = unlearned.weights
    frozen = {name: value for name, value in params.items() if name not in stack}
    same = {name: params[name].expand(len(queries.names), *params[name].shape) for name in stack}
    found = {"steps": unlearned.steps, "reached": unlearned.reached, "forget": unlearned.forget}
    for when, weights in (("before", same), ("after", stack)):
        checked = fresh_losses(model, frozen, weights, queries.images, data.images, abar, null, seed)
        found |= {f"query_{when}": checked[0], f"train_{when}": checked[1]}
    save_tensors(
        path,
        {f"{WEIGHTS}{name}": value for name, value in stack.items()} | found,
        {"names": queries.names, "first": first},
    )


def load(path: Path, params: dict[str, Tensor], device: torch.device) -> Models:
    """The models of one file, beside the attributed `params`. Raises StudyError for those of another denoiser."""
    tensors, meta = load_tensors(path, "pt", str(device)), load_meta(path)
    stack = {key.removeprefix(WEIGHTS): value for key, value in tensors.items() if key.startswith(WEIGHTS)}
    if any(name not in params or value.shape[1:] != params[name].shape for name, value in stack.items()):
        raise StudyError(f"{path}: not of this denoiser; delete its folder and rerun")
    about = {key: value.cpu() for key, value in tensors.items() if not key.startswith(WEIGHTS)}
    frozen = {name: value for name, value in params.items() if name not in stack}
    return Models(meta["first"], meta["names"], frozen, stack, about)


def load_reference(path: Path, device: torch.device) -> tuple[Bank, Tensor]:
    """The noise bank, and the attributed model's losses [N, S] at it. Raises StudyError where the bank was altered."""
    tensors, meta = load_tensors(path, "pt", str(device)), load_meta(path)
    bank = Bank(meta["seed"], meta["name"], meta["shared"], tensors["t"], tensors["eps"])
    if bank.digest() != meta["digest"]:
        raise StudyError(f"{path}: not the bank that its losses were measured at; delete its folder and rerun")
    return bank, tensors["losses"]
