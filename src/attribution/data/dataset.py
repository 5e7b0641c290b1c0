"""What every dataset looks like to the study: images, labels and the part of the source they came from.

Shape letters: N images, C H W channels, height, width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError

TRAIN_PART = 0
TEST_PART = 1
PARTS = {"train": TRAIN_PART, "test": TEST_PART}


class Arrays(NamedTuple):
    """What a loader reads from a source; the shapes and types are those of a Dataset."""

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A whole source, nothing drawn from it yet.

    images: [N, C, H, W] float32 in [-1, 1], or uint8 where that would be too large
    labels: [N] int64, the source's own numbers
    split:  [N] uint8, TRAIN_PART or TEST_PART of the source (a source without parts is all TRAIN_PART)
    """

    name: str
    source: str
    licence: str
    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray


def check(dataset: Dataset) -> Dataset:
    """The dataset itself; raises StudyError where shapes, types or the value range are not as documented."""
    images, labels, split = dataset.images, dataset.labels, dataset.split
    if images.ndim != 4 or labels.shape != images.shape[:1] or split.shape != images.shape[:1]:
        shapes = f"{images.shape}, {labels.shape}, {split.shape}"
        raise StudyError(f"{dataset.name}: images, labels and split disagree in shape ({shapes})")
    if images.dtype not in (np.float32, np.uint8) or (labels.dtype, split.dtype) != (np.int64, np.uint8):
        raise StudyError(f"{dataset.name}: images, labels, split must be float32 (or uint8), int64, uint8")
    if not len(images) or (images.dtype == np.float32 and not np.abs(images).max() <= 1.0):
        raise StudyError(f"{dataset.name}: no images, or values that are not in [-1, 1]")
    return dataset


def save(path: Path | str, dataset: Dataset) -> None:
    """Write the dataset as safetensors; the same dataset gives the same bytes on every machine."""
    check(dataset)
    tensors = {"images": dataset.images, "labels": dataset.labels, "split": dataset.split}
    save_tensors(path, tensors, {"name": dataset.name, "source": dataset.source, "licence": dataset.licence})


def load(path: Path | str) -> Dataset:
    """Read what `save` wrote; raises StudyError naming the file where it is damaged or holds something else."""
    tensors, meta = load_tensors(path), load_meta(path)
    try:
        return check(Dataset(**meta, **tensors))
    except TypeError as error:
        raise StudyError(f"{path}: not a dataset file (holds {sorted(tensors)})") from error
