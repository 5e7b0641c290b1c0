"""CIFAR-10 from its official archive (python version), and CIFAR-2, its automobiles and horses.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. CIFAR-2 follows Zheng et al. 2023
(D-TRAK) and Mlodozeniec et al. 2025; which of its 10,000 training images a study uses is drawn later, by name.

The archive holds Python 2 pickles. They are read from the tar stream without unpacking it, by an unpickler that knows
plain containers and NumPy arrays and refuses every other name, so a tampered archive cannot run code.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attribution.data import parquet
from attribution.data.dataset import TEST_PART, TRAIN_PART, Arrays
from attribution.data.images import to_unit
from attribution.errors import StudyError

FOLDER = "cifar-10-batches-py"
BATCHES = {f"data_batch_{part}": TRAIN_PART for part in range(1, 6)} | {"test_batch": TEST_PART}
SHAPE = (3, 32, 32)  # red, green and blue planes, row by row
CIFAR2_LABELS = (1, 7)  # automobile, horse
DATASETS = {
    "cifar10": {
        "images": 60000,
        "channels": 3,
        "size": [32, 32],
        "levels": 256,
        "licence": "none stated by its authors; cite Krizhevsky 2009",
        "source": "CIFAR-10, python version (cs.toronto.edu/~kriz/cifar.html)",
        "fetched": {
            "url": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "md5": "c58f30108f718f92721af3b95e74349a",
            "variable": "CIFAR10_ARCHIVE",
        },
        "loader": "cifar10",
    },
    "cifar2": {
        "images": 12000,
        "channels": 3,
        "size": [32, 32],
        "levels": 256,
        "licence": "none stated by its authors; cite Krizhevsky 2009",
        "source": "CIFAR-10, python version (cs.toronto.edu/~kriz/cifar.html), classes automobile and horse",
        "fetched": {
            "url": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "md5": "c58f30108f718f92721af3b95e74349a",
            "variable": "CIFAR10_ARCHIVE",
        },
        "loader": "cifar2",
    },
    "cifar10_tiny": {
        "images": 600,
        "channels": 3,
        "size": [32, 32],
        "levels": 256,
        "licence": "none stated by its authors; cite Krizhevsky 2009",
        "source": "CIFAR-10, python version (cs.toronto.edu/~kriz/cifar.html)",
        "fetched": {"path": "raw/tiny/cifar.tar.gz", "synthetic": "cifar"},
        "loader": "cifar10",
    },
    "cifar2_tiny": {
        "images": 120,
        "channels": 3,
        "size": [32, 32],
        "levels": 256,
        "licence": "none stated by its authors; cite Krizhevsky 2009",
        "source": "CIFAR-10, python version (cs.toronto.edu/~kriz/cifar.html), classes automobile and horse",
        "fetched": {"path": "raw/tiny/cifar.tar.gz", "synthetic": "cifar"},
        "loader": "cifar2",
    },
}

_RECONSTRUCT = np.empty(0).__reduce__()[0]  # NumPy's own function, wherever this version keeps it
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,  # the name in the official files
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a CIFAR batch never holds")
        return _ALLOWED[module, name]


def cifar10(archive: Path) -> Arrays:
    """All 60,000 images: images [60000, 3, 32, 32] float32 in [-1, 1], the 50,000 of the training part first.

    `archive` may also be its unpacked folder, as torchvision keeps it, or a folder of Parquet files. Raises StudyError
    naming the archive where it is truncated, incomplete or not the official format.
    """
    if archive.is_dir() and parquet.files(archive):
        images, labels, split = parquet.read(archive, "rgb")
        if images.shape[1:] != SHAPE:
            raise StudyError(f"{archive}: images of {images.shape[1:]}, CIFAR-10's are {SHAPE}")
        return Arrays(to_unit(images), labels, split)
    try:
        batches = {name: _batch(blob) for name, blob in (_folder if archive.is_dir() else _archive)(archive)}
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())  # tarfile lists every compression it tried, a line each
        raise StudyError(f"{archive}: truncated or not a tar archive ({reason}); fetch it again") from error
    except (pickle.UnpicklingError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise StudyError(f"{archive}: not the official CIFAR-10 archive, refused ({error})") from error
    if missing := [name for name in BATCHES if name not in batches]:
        raise StudyError(f"{archive}: {FOLDER}/{missing[0]} is missing; fetch cifar-10-python.tar.gz again")
    pixels = np.concatenate([batches[name][0] for name in BATCHES])
    images = to_unit(pixels.reshape(-1, *SHAPE))
    labels = np.concatenate([batches[name][1] for name in BATCHES])
    split = np.concatenate([np.full(len(batches[name][1]), part, np.uint8) for name, part in BATCHES.items()])
    return Arrays(images, labels, split)


def cifar2(archive: Path) -> Arrays:
    """The automobiles and horses of CIFAR-10, with CIFAR-10's label numbers: 10,000 training and 2,000 test images."""
    images, labels, split = cifar10(archive)
    kept = np.isin(labels, CIFAR2_LABELS)
    return Arrays(images[kept], labels[kept], split[kept])


def _archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            file = tar.extractfile(member) if folder == FOLDER and name in BATCHES else None
            if file is not None:
                yield name, file.read()


def _folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    place = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    return ((name, (place / name).read_bytes()) for name in BATCHES if (place / name).is_file())


def _batch(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    """One pickled batch: pixels [n, 3072] uint8 and labels [n] int64."""
    content = _ArrayUnpickler(io.BytesIO(blob), encoding="bytes").load()
    pixels, labels = content[b"data"], np.asarray(content[b"labels"], np.int64)
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), int(np.prod(SHAPE))):
        raise ValueError(f"data is {pixels.dtype} {pixels.shape} for {len(labels)} labels")
    if not np.isin(labels, range(10)).all():
        raise ValueError("labels outside 0..9")
    return pixels, labels
