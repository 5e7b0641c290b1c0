"""Puts a dataset's file where the study looks for it, and lets no other bytes pass than those that dvc.lock names.

The loaders are run as a command, not imported: what is drawn from the file depends on its bytes, which are checked, so
an edit in a loader that changes no byte changes nothing downstream.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow.dvc import file_md5


def provide(path: Path, stage: str, expected: str | None) -> None:
    """Make sure that `path` holds the file with MD5 `expected`: as it is, else pulled by DVC, else built.

    A missing file is built directly, not by `dvc repro`: that would rewrite dvc.lock in the middle of a run. Jobs that
    need the same file wait for each other. Raises StudyError, one line with the fix, where dvc.lock does not know the
    stage (`expected` is None), the file cannot be built or its bytes are not the expected ones.
    """
    if expected is None:
        advice = f"run: dvc repro {stage}, then commit dvc.lock"
        raise StudyError(f"{path}: dvc.lock has no stage {stage}, so its content cannot be checked; {advice}")
    with _one_at_a_time(path):
        if path.exists():
            _verify(path, expected, f"delete it to have it made anew, or record it: dvc commit {stage}")
            return
        if not (_pull(stage) and path.exists()):
            _build(stage, path)
        _verify(path, expected, f"its source or loader has changed: run dvc repro {stage} and commit dvc.lock")


def _verify(path: Path, expected: str, advice: str) -> None:
    if (found := file_md5(path)) != expected:
        raise StudyError(f"{path}: expected md5 {expected} (dvc.lock), found {found}; {advice}")


def _pull(stage: str) -> bool:
    """Take the file from DVC's cache or remote. Not inside `dvc repro`, which holds the lock that a pull waits for."""
    if "DVC_STAGE" in os.environ:  # DVC sets it for the command of a stage
        return False
    command = [sys.executable, "-m", "dvc", "pull", "--quiet", stage]
    environment = os.environ | {"DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def _build(stage: str, path: Path) -> None:
    """What the stage does in dvc.yaml."""
    command = [sys.executable, "-m", "attribution.steps.build_dataset", stage, "--out", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise StudyError(f"{path}: could not be built ({lines[-1]})")


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield
