"""Named random streams: what a stream holds depends on its names alone.

Never on the order in which streams are opened, on batch size, process, device or resume (DESIGN D9). A stream is a
NumPy Philox generator whose 128-bit key is the SHA-256 of the seed and the names, so `rng(0, "noise", 17)` is the same
numbers on every machine, and two different name lists never share a key.

Shape letters: the legend of docs/methods.md.
"""

import hashlib
import json

import numpy as np

Name = str | int


def key(seed: int, *names: Name) -> int:
    """128-bit key of the stream called `names` under `seed`; names are compared with their types ("1" is not 1)."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:16], "little")


def rng(seed: int, *names: Name) -> np.random.Generator:
    """The generator of the stream called `names` under `seed`, at its beginning."""
    return np.random.Generator(np.random.Philox(key=key(seed, *names)))


def torch_seed(seed: int, *names: Name) -> int:
    """A 63-bit seed for libraries that only take an integer (torch's module initialisers)."""
    return key(seed, *names) >> 65
