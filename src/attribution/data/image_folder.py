"""A folder or archive of image files as arrays: parts and classes by workflow/image_files.py, pixels by data/images.py.

Classes are numbered in alphabetical order. Images stand in the order of part, class and file name.

Shape letters: N images, C H W image.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attribution.data.dataset import PARTS, Arrays
from attribution.data.images import decode
from attribution.errors import StudyError
from attribution.workflow import image_files


class Read(NamedTuple):
    """Images [N, C, H, W] uint8 with labels and parts, the identity of what was read, and what was read in words."""

    arrays: Arrays
    sha256: str
    said: dict[str, int]


def read(source: Path, mode: str | None = None, size: int | None = None) -> Read:
    """All images, in grey, in rgb, or (None) in grey where none of them has a colour.

    Raises StudyError naming the file that cannot be read as it is meant, or two that are not of one size.
    """
    names = [name for name, _ in image_files.walk(source)]
    places = image_files.arranged(source, names)
    if twice := next((name for name, count in Counter(names).items() if count > 1 and name in places), None):
        raise StudyError(f"{source}: {twice}: twice in the archive; refused")
    found: dict[str, np.ndarray] = {}
    hashes: dict[str, str] = {}
    treated: Counter[str] = Counter()
    for name, content in image_files.walk(source):
        if name not in places:
            continue
        blob = content()
        hashes[name] = hashlib.sha256(blob).hexdigest()
        found[name], done = decode(blob, mode or "rgb", f"{source}: {name}", size)
        treated.update(done)
    first = next(iter(places))
    for name in places:
        if found[name].shape != found[first].shape:
            sizes = " and ".join(f"{n} ({found[n].shape[2]} x {found[n].shape[1]})" for n in (first, name))
            raise StudyError(f"{source}: images of other sizes: {sizes}; write data.size to resize them")
    images = np.stack([found.pop(name) for name in places])
    if mode is None and (images == images[:, :1]).all():
        images = np.ascontiguousarray(images[:, :1])
    numbers = {label: number for number, label in enumerate(sorted({place.label for place in places.values()}))}
    labels = np.array([numbers[place.label] for place in places.values()], np.int64)
    split = np.array([PARTS[place.part] for place in places.values()], np.uint8)
    said = {"images": len(images), "classes": len(numbers), **dict(sorted(treated.items()))}
    if others := len(names) - len(places):
        said["other files left out"] = others
    return Read(Arrays(images, labels, split), image_files.digest(places, hashes), said)
