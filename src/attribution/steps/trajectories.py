"""The queries' sampling trajectories in their file: what the step `queries` writes and others read."""

from pathlib import Path
from typing import Any

import torch

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.diffusion.trajectory import Trajectory


def save(path: Path, trajectory: Trajectory, sampling: dict[str, Any], names: list[str]) -> None:
    """Write states, outputs and timesteps, with the sampler's settings and the queries' names."""
    save_tensors(path, vars(trajectory), {"sampling": sampling, "names": names})


def load(path: Path, device: torch.device) -> tuple[Trajectory, dict[str, Any], list[str]]:
    """The trajectory, the sampler's settings and the queries' names."""
    meta = load_meta(path)
    return Trajectory(**load_tensors(path, "pt", str(device))), meta["sampling"], meta["names"]
