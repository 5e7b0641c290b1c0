"""Where tensors live and how exactly they are computed: one choice for all steps, noted in every receipt."""

import os
from typing import Any

import torch


def choose() -> torch.device:
    """CUDA where there is one, else the CPU; TF32 and autotuned convolutions are off, so runs repeat closely."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe(device: torch.device) -> dict[str, Any]:
    """What a receipt says of it: device name, threads, deterministic switches."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else os.uname().machine
    return {
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "deterministic": {"tf32": False, "cudnn_benchmark": False, "cudnn_deterministic": True},
    }
