"""Where sources come from: CIFAR-10's official archive is fetched and checked against its published MD5, the others are
local files or folders."""

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

    A folder that the variable names is taken as it is: what is read from it is checked against dvc.lock.

    Raises StudyError where it cannot be fetched or is not the official file.
    """
    named = os.environ.get(CIFAR10_VARIABLE)
    path = Path(named) if named else folder / CIFAR10_URL.rpartition("/")[2]
    if path.is_dir():
        return path
    if named and not path.is_file():
        raise StudyError(f"{CIFAR10_VARIABLE}={named}: no such file")
    if not path.is_file():
        _fetch(CIFAR10_URL, path)
    if (found := file_md5(path)) != CIFAR10_MD5:
        raise StudyError(f"{path}: not the official archive (md5 {found}, expected {CIFAR10_MD5}); delete it and rerun")
    return path


def local(variable: str, path: Path, what: str) -> Path:
    """A source that has to be there: the file or folder that $`variable` names, else `path`; StudyError otherwise."""
    named = os.environ.get(variable)
    found = Path(named) if named else path
    if not found.exists():
        raise StudyError(f"{found}: missing; put {what} there, or name it in {variable} (docs/studies.md)")
    return found


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
