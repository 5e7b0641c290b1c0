"""Encoded images (JPEG, PNG) as arrays, and folders of them: the ImageFolder layout, unpacked or in a tar archive.

    <root>/train/<class>/<file>     <root>/test/<class>/<file>
Names of classes are numbered in alphabetical order. An image is decoded only where its header says the expected format
and size, so that a hostile file cannot take all memory.

Shape letters: N images, C H W image.
"""

import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attribution.data.dataset import TEST_PART, TRAIN_PART
from attribution.errors import StudyError

FORMATS = ("JPEG", "PNG")
PARTS = {"train": TRAIN_PART, "test": TEST_PART}
LARGEST = 1 << 20  # pixels of an image, 1024 x 1024
_PLACE = re.compile(r"(?:^|/)(train|test)/([^/]+)/([^/]+)\.(?:jpe?g|png)$", re.IGNORECASE)

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # images [N, C, H, W] uint8, labels [N] int64, split [N] uint8


def decode(blob: bytes, mode: str, where: str) -> np.ndarray:
    """An image [C, H, W] uint8, in colour (`mode` RGB) or grey (L). Raises StudyError naming `where` it came from."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise StudyError(f"{where}: {image.width} x {image.height} pixels are more than {LARGEST}; refused")
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise StudyError(f"{where}: truncated or no JPEG or PNG image ({' '.join(str(error).split())})") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def image_folder(source: Path, mode: str = "RGB") -> Arrays:
    """All images of a folder or tar archive, training part first, in the order of class and file name.

    Raises StudyError naming the source where it is truncated, holds no images, or images of different sizes.
    """
    found = {}
    for part, label, name, blob in _folder(source) if source.is_dir() else _archive(source):
        found[PARTS[part], label, name] = decode(blob, mode, f"{source}: {part}/{label}/{name}")
    if not found:
        raise StudyError(f"{source}: holds no images as train/<class>/<file>.jpg")
    keys = sorted(found)
    if len(shapes := {image.shape for image in found.values()}) > 1:
        raise StudyError(f"{source}: images of {len(shapes)} sizes, among them {sorted(shapes)[:2]}; all must be alike")
    numbers = {label: number for number, label in enumerate(sorted({label for _, label, _ in keys}))}
    labels = np.array([numbers[label] for _, label, _ in keys], np.int64)
    images = np.stack([found.pop(key) for key in keys])
    return images, labels, np.array([part for part, _, _ in keys], np.uint8)


def to_unit(images: np.ndarray) -> np.ndarray:
    """0..255 -> [-1, 1], float32."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _folder(source: Path) -> Iterator[tuple[str, str, str, bytes]]:
    for path in sorted(source.rglob("*")):
        if (place := _PLACE.search(path.relative_to(source).as_posix())) and path.is_file():
            yield *place.groups(), path.read_bytes()


def _archive(source: Path) -> Iterator[tuple[str, str, str, bytes]]:
    try:
        with tarfile.open(source, "r:*") as tar:
            for member in tar:
                place = _PLACE.search(member.name)
                file = tar.extractfile(member) if place and member.isfile() else None
                if file is not None:
                    yield *place.groups(), file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{source}: truncated or not a tar archive ({reason}); fetch it again") from error
