"""One writer at a time: one run of a study, one process in a job's folder.

Snakemake's own lock (which profiles/default turns off) stays behind where a run is killed, and is lifted for all runs
of a folder when any of them ends. A lock of the kernel ends with its process, however that ends: a killed run leaves
nothing to unlock, and whoever holds one is alive. These are POSIX record locks, which network file systems carry from
node to node.
"""

import atexit
import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from attribution.errors import StudyError

FOLDER = Path(".snakemake", "attribution", "runs")
NAME = ".lock"  # in a job's folder, while the job runs
LACKING = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # a file system without locks
_held: dict[str, int] = {}
_busy: dict[str, str] = {}  # studies that another run made when this one looked last, and which


def hold(root: Path, studies: Iterable[str], executor: str = "local") -> None:
    """Claim the studies for this run, until `release` or the end of the process; what it holds already stays claimed.

    `executor` is Snakemake's name of what runs the jobs; `killed` tells it of a run that did not end by itself.
    Raises StudyError in one line where another run makes one of them, made it when this one began to plan, or may do so
    on a file system without locks.
    """
    atexit.register(release)
    for study in sorted(set(studies) - _held.keys()):
        handle, path = _open(root, study)
        with _closed_on_error(handle):
            if owner := _busy.get(study):
                raise StudyError(f"{study}: another run is making it ({owner}); wait for it, or end it")
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = _read(handle)
                if error.errno not in LACKING:
                    raise StudyError(f"{study}: another run is making it ({owner}); wait for it, or end it") from error
                if owner:
                    raise StudyError(
                        f"{study}: a run of it has not ended ({owner}); end it, or delete {path}"
                    ) from error
            now = datetime.now(UTC).isoformat(timespec="seconds")
            _write(handle, f"process {os.getpid()} on {os.uname().nodename} since {now}, executor {executor}")
        _held[study] = handle


def release() -> None:
    """Give up what this run holds."""
    while _held:
        _, handle = _held.popitem()
        _write(handle, "")
        os.close(handle)


def idle(root: Path, study: str) -> bool:
    """Whether no run makes the study now; False where that cannot be known."""
    if study in _held:  # and to open its file and close it would end the lock
        return False
    _busy.pop(study, None)
    if not (Path(root) / FOLDER / study).exists():
        return True
    handle, _ = _open(root, study)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = _read(handle)
        if error.errno not in LACKING:
            _busy[study] = owner or "its name is not yet written"
        return error.errno in LACKING and not owner
    finally:
        os.close(handle)
    return True


def killed(root: Path, study: str, executor: str) -> bool:
    """Whether the study's last run, one with this executor, ended without saying so, and none makes it now."""
    path = Path(root) / FOLDER / study
    return path.is_file() and path.read_text().endswith(f", executor {executor}") and idle(root, study)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a job's folder, as one whose run was killed may; then keep others out."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = _first(folder / NAME)
    try:
        yield
    finally:
        (folder / NAME).unlink(missing_ok=True)
        os.close(handle)


def _first(path: Path) -> int:
    """The locked handle of a file that is still at its path: who held it before removed it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with _closed_on_error(handle):
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in LACKING:
                    return handle
                print(f"{path.parent}: another process works here; waiting for its end", file=sys.stderr, flush=True)
                fcntl.lockf(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        os.close(handle)


def _open(root: Path, study: str) -> tuple[int, Path]:
    path = Path(root) / FOLDER / study
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644), path
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def _closed_on_error(handle: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(handle)
        raise


def _read(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace")


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)
