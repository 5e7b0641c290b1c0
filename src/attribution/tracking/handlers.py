"""What the Snakefile's onstart, onsuccess and onerror call: the mirror as child processes that cannot hurt the run.

`start` follows the jobs live where MLFLOW_TRACKING_URI names a server, and does nothing otherwise; `finish` ends that
and syncs once, with a time limit. Neither raises. Standard library only. The address, which may hold a password,
reaches the children by the environment alone: command lines can be read by every user of a machine.

ATTRIBUTION_TRACKING=off switches both off; a later sync by hand writes what was left out.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attribution.tracking.address import VARIABLE, is_http

SWITCH = "ATTRIBUTION_TRACKING"
FOLLOWER_SECONDS = 60.0  # to write what the last jobs left, one attempt where the server does not answer
SYNC_SECONDS = 600.0  # a first sync takes 10 s and 0.25 s a job
_follower: list[tuple[subprocess.Popen, Path]] = []


def start(studies: Sequence[str]) -> None:
    """Begin to follow the studies' jobs in the background."""
    try:
        if _off() or _follower or not studies or not is_http(os.environ.get(VARIABLE, "")):
            return
        stop = Path(tempfile.mkdtemp(prefix="attribution-tracking-")) / "stop"
        child = _spawn("follow", *studies, "--stop", str(stop), "--parent", str(os.getpid()))
        _follower.append((child, stop))
    except Exception as error:
        _warn(f"jobs are not followed: {type(error).__name__}")


def finish(studies: Sequence[str]) -> None:
    """End the follower, then mirror what is left of the studies that have results."""
    try:
        while _follower:
            child, stop = _follower.pop()
            stop.touch()
            _wait(child, FOLLOWER_SECONDS, "the follower")
            shutil.rmtree(stop.parent, ignore_errors=True)
        if _off():
            return
        if present := [study for study in studies if Path("results", study).is_dir()]:
            _wait(_spawn("sync", *present), SYNC_SECONDS, "the sync")
    except (Exception, KeyboardInterrupt) as error:
        _warn(f"not mirrored: {type(error).__name__}; python -m attribution.tracking sync writes what is missing")


def _off() -> bool:
    return os.environ.get(SWITCH, "").strip().lower() == "off"


def _spawn(*arguments: str) -> subprocess.Popen:
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH")) if part)
    return subprocess.Popen(
        [sys.executable, "-m", "attribution.tracking", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=2,  # all it says belongs to the log of the run
        start_new_session=True,  # an interrupt of the run is not one of the mirror, and a group can be ended whole
    )


def _wait(child: subprocess.Popen, seconds: float, what: str) -> None:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        _warn(f"{what} took longer than {seconds:.0f} s and was ended; the next sync writes what is missing")
    finally:
        if child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _warn(text: str) -> None:
    print(f"tracking: warning: {text}", file=sys.stderr, flush=True)
