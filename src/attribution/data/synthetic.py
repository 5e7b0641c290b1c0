"""Small archives in the official formats, of synthetic images: what the tiny forms of studies are built from.

An image is a grating whose direction and colour depend on its class, shifted and dimmed by its number, with noise. All
numbers come from named streams, so that the archives hold the same images on every machine.

Shape letters: N images, C H W image.
"""

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attribution.core.rng import rng
from attribution.core.store import atomic

CLASSES = 10
CIFAR_BATCH = 100  # images of each of the six batches
MNIST_PARTS = {"train": 400, "t10k": 100}
ART_PARTS = {"train": 8, "test": 2}  # images of a style
ART_SIDE = 32
STYLES = ("art_nouveau", "baroque", "expressionism", "impressionism", "post_impressionism")
STYLES += ("realism", "renaissance", "romanticism", "surrealism", "ukiyo_e")


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's `str` (BINSTRING), as CIFAR's official files hold them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _python2_string(self, value: str | bytes) -> None:
        value = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _python2_string


def python2_pickle(value: Any) -> bytes:
    """The value as Python 2 with an old NumPy would have pickled it."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def image(kind: str, label: int, number: int, shape: tuple[int, int, int]) -> np.ndarray:
    """One image [C, H, W] uint8 of a class: integers throughout, which no machine rounds otherwise."""
    stream = rng(0, "synthetic", kind, label, number)
    channels, height, width = shape
    y, x = np.mgrid[:height, :width] * 32 // height
    steps, shift, light = (1 + label % 3, label // 3 - 1), int(stream.integers(32)), int(stream.integers(4, 9))
    wave = np.abs((steps[0] * x + steps[1] * y + shift) % 16 - 8) - 4  # -4..4
    tint = 1 + (label + 2 * np.arange(channels)) % 4
    noise = stream.integers(-12, 13, shape)
    return np.clip(128 + light * wave * tint[:, None, None] // 2 + noise, 0, 255).astype(np.uint8)


def cifar(path: Path) -> Path:
    """An archive like cifar-10-python.tar.gz: six pickled batches, classes in turn."""
    names = [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]
    blobs = {}
    for part, name in enumerate(names):
        labels = [number % CLASSES for number in range(CIFAR_BATCH)]
        pixels = [image("cifar", label, part * CIFAR_BATCH + n, (3, 32, 32)) for n, label in enumerate(labels)]
        batch = {b"data": np.stack(pixels).reshape(CIFAR_BATCH, -1), b"labels": labels}
        blobs[f"cifar-10-batches-py/{name}"] = python2_pickle(batch)
    return _tar(path, blobs, "w:gz")


def mnist(folder: Path) -> Path:
    """The four gzipped idx files."""
    first = 0
    for prefix, count in MNIST_PARTS.items():
        labels = np.arange(count) % CLASSES
        pixels = np.stack([image("mnist", int(label), first + n, (1, 28, 28))[0] for n, label in enumerate(labels)])
        first += count
        for what, array in (("images-idx3", pixels), ("labels-idx1", labels.astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
            with atomic(folder / f"{prefix}-{what}-ubyte.gz") as part:
                part.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
    return folder


def artbench(path: Path) -> Path:
    """An archive like artbench-10-imagefolder-split.tar: JPEG images by part and style."""
    from PIL import Image

    blobs = {}
    for part, count in ART_PARTS.items():
        for label, style in enumerate(STYLES):
            for number in range(count):
                pixels = image(f"artbench/{part}", label, number, (3, ART_SIDE, ART_SIDE))
                file = io.BytesIO()
                Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=90)
                blobs[f"artbench-10-imagefolder-split/{part}/{style}/{number:03d}.jpg"] = file.getvalue()
    return _tar(path, blobs, "w")


def _tar(path: Path, blobs: dict[str, bytes], mode: str) -> Path:
    with atomic(path) as part, tarfile.open(part, mode) as tar:
        for name, blob in blobs.items():
            member = tarfile.TarInfo(name)
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    return path
