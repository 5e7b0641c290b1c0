"""The one download of the study: CIFAR-10's official archive, checked against its published MD5."""

import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from attribution.core.store import atomic
from attribution.errors import StudyError
from attribution.workflow.dvc import file_md5

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_VARIABLE = "CIFAR10_ARCHIVE"  # a local copy of the archive, for machines without a connection


def cifar10_archive(folder: Path) -> Path:
    """The official archive: the file that $CIFAR10_ARCHIVE names, else `folder`'s copy, fetched where it is absent.

    Raises StudyError where it cannot be fetched or is not the official file.
    """
    named = os.environ.get(CIFAR10_VARIABLE)
    path = Path(named) if named else folder / CIFAR10_URL.rpartition("/")[2]
    if named and not path.is_file():
        raise StudyError(f"{CIFAR10_VARIABLE}={named}: no such file")
    if not path.is_file():
        _fetch(CIFAR10_URL, path)
    if (found := file_md5(path)) != CIFAR10_MD5:
        raise StudyError(f"{path}: not the official archive (md5 {found}, expected {CIFAR10_MD5}); delete it and rerun")
    return path


def _fetch(url: str, path: Path) -> None:
    with atomic(path) as part, part.open("wb") as file:
        for block in _blocks(url):
            file.write(block)


def _blocks(url: str) -> Iterator[bytes]:
    """The bytes behind `url`; network failures are StudyErrors, so that they are told from a full disk."""
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            while block := reply.read(1 << 20):
                yield block
    except (OSError, HTTPException) as error:
        advice = f"download it by hand and name the file in {CIFAR10_VARIABLE}"
        raise StudyError(f"{url}: cannot be fetched ({error}); {advice}") from error
