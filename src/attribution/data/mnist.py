"""MNIST: 70,000 handwritten digits, from the official idx files or from Parquet files.

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998. The 28 x 28 digits get a border of two
black pixels, so that a UNet can halve them three times, as Dai and Gifford 2026 pad them.

An idx file is a header, 0 0 8 <number of axes>, the axes as big-endian 32-bit numbers, then the bytes. It is read, also
where gzip packs it, to just the size that its header states and the dataset can have.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from attribution.data import parquet
from attribution.data.dataset import TEST_PART, TRAIN_PART, Arrays
from attribution.data.images import to_unit
from attribution.errors import StudyError

FILES = {"train": TRAIN_PART, "t10k": TEST_PART}
PLACES = ("", "raw", "MNIST/raw")  # in the folder itself, or where torchvision keeps them
SIDE, BORDER = 28, 2
LARGEST = 60_000 * SIDE * SIDE
DATASETS = {
    "mnist": {
        "images": 70000,
        "channels": 1,
        "size": [32, 32],
        "levels": 256,
        "licence": "CC BY-SA 3.0",
        "source": "MNIST (LeCun, Cortes, Burges 1998)",
        "fetched": {"path": "raw/mnist", "variable": "MNIST_SOURCE", "what": "the idx files of MNIST"},
        "loader": "mnist",
    },
    "mnist_tiny": {
        "images": 500,
        "channels": 1,
        "size": [32, 32],
        "levels": 256,
        "licence": "CC BY-SA 3.0",
        "source": "MNIST (LeCun, Cortes, Burges 1998)",
        "fetched": {"path": "raw/tiny/mnist", "synthetic": "mnist"},
        "loader": "mnist",
    },
}


def mnist(source: Path) -> Arrays:
    """All digits of a folder: images [N, 1, 32, 32], the training part first, labels 0..9.

    Raises StudyError naming the file that is absent, truncated or of another format.
    """
    if parquet.files(source):
        images, labels, split = parquet.read(source, "grey")
    else:
        parts = [(_pair(source, prefix), part) for prefix, part in FILES.items()]
        images = np.concatenate([pixels for (pixels, _), _ in parts])[:, None]
        labels = np.concatenate([numbers for (_, numbers), _ in parts]).astype(np.int64)
        split = np.concatenate([np.full(len(numbers), part, np.uint8) for (_, numbers), part in parts])
    if images.shape[1:] != (1, SIDE, SIDE) or not np.isin(labels, range(10)).all():
        raise StudyError(f"{source}: not MNIST: images of {images.shape[1:]}, labels up to {labels.max()}")
    padded = np.pad(images, ((0, 0), (0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    return Arrays(to_unit(padded), labels, split)


def idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file, gzipped or not. Raises StudyError where it is not whole or of another form."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            magic = file.read(4)
            if magic not in (b"\x00\x00\x08\x01", b"\x00\x00\x08\x03"):
                raise StudyError(f"{path}: not an idx file of bytes (it begins with {magic.hex()})")
            sizes = file.read(4 * magic[3])
            axes = [int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4)]
            if math.prod(axes) > LARGEST:
                raise StudyError(f"{path}: its header states {axes}, more than MNIST has; refused")
            data = file.read(math.prod(axes) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: truncated or damaged ({error}); fetch it again") from error
    if len(sizes) < 4 * magic[3] or len(data) != math.prod(axes):
        raise StudyError(f"{path}: truncated or damaged (its header states {axes}); fetch it again")
    return np.frombuffer(data, np.uint8).reshape(axes)


def _pair(source: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 28, 28] and labels [n] of one part."""
    pixels, labels = (idx(_find(source, f"{prefix}-{what}-ubyte")) for what in ("images-idx3", "labels-idx1"))
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise StudyError(f"{source}: {prefix} has images {pixels.shape} and labels {labels.shape}")
    return pixels, labels


def _find(source: Path, name: str) -> Path:
    for place in PLACES:
        for ending in (".gz", ""):
            if (path := source / place / f"{name}{ending}").is_file():
                return path
    raise StudyError(f"{source / name}.gz: missing; fetch the four idx files of MNIST")
