"""Where tensors live and how exactly they are computed: one choice for all steps, noted in every receipt."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch


def choose(record: dict[str, Any] | None = None) -> torch.device:
    """CUDA where there is one, else the CPU; TF32 and autotuned convolutions are off, so runs repeat closely.

    What a receipt says of it is entered in `record`.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts: cuBLAS then repeats itself
    _products("ieee")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if record is not None:
        record |= describe(device)
    return device


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Within it, float32 products on CUDA may round their factors to TF32 (10 bits); a CPU has none to use."""
    _products("tf32" if allowed else "ieee")
    try:
        yield
    finally:
        _products("ieee")


def finish(device: torch.device) -> None:
    """Wait until all work given to the device is done: CUDA works on after a call has returned, a clock must not."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> dict[str, Any]:
    """What a receipt says of it: device name, threads, deterministic switches."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else os.uname().machine
    return {
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "deterministic": {"tf32": False, "cudnn_benchmark": False, "cudnn_deterministic": True},
    }


def _products(precision: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision
    torch.backends.cudnn.rnn.fp32_precision = precision
