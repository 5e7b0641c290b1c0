"""What several steps read: images with their names, denoisers with their weights.

Shape letters: M models, N examples, C H W image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attribution.core.store import load_meta, load_tensors
from attribution.diffusion.denoisers import build
from attribution.diffusion.ensemble import Stack, loaded, member
from attribution.errors import StudyError


@dataclass(frozen=True)
class Examples:
    """Images [N, C, H, W] in [-1, 1] and the names under which their noise is drawn."""

    images: Tensor
    names: list[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        return tuple(self.images.shape[1:])


def examples(path: Path, device: torch.device) -> Examples:
    """Examples of the dataset, named by their rows in it, or queries, under the names that their step gave them."""
    tensors = load_tensors(path, "pt")
    names = load_meta(path).get("names") or [f"example/{row}" for row in tensors["index"].tolist()]
    return Examples(tensors["images"].to(device), names)


def part_of(data: Examples, job: dict[str, Any]) -> Examples:
    """The examples first..last, both included, that the job's part names, as one job of a map over examples works on
    them; all of them where it names none.
    """
    rows = slice(job["first"], job["last"] + 1) if "first" in job else slice(None)
    return Examples(data.images[rows], data.names[rows])


def models(path: Path, device: torch.device) -> Stack:
    """A cohort's weights, parameter name -> [M, ...]."""
    return load_tensors(path, "pt", str(device))


def single(
    path: Path, denoiser: dict[str, Any], shape: tuple[int, int, int], device: torch.device, name: str = "full"
) -> nn.Module:
    """The denoiser with the weights of the model called `name` in the cohort's file; StudyError where it has none."""
    names = load_meta(path).get("names", [])
    if name not in names:
        raise StudyError(f"{path}: holds no model {name!r} (its models: {', '.join(names) or 'unnamed'})")
    return loaded(build(denoiser, shape).to(device), member(models(path, device), names.index(name)))
