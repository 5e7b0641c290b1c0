"""What the Snakefile's onsuccess and onerror call: the mirror as a child process that cannot hurt the run.

It never raises, and has a time limit. Standard library only. The address, which may hold a password, reaches the child
by the environment alone: command lines can be read by every user of a machine. ATTRIBUTION_TRACKING=off switches it
off; a sync by hand writes what was left out.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SWITCH = "ATTRIBUTION_TRACKING"
SECONDS = 600.0  # a first sync takes 10 s and 0.1 s a job


def studies(jobs: Iterable[Any]) -> list[str]:
    """The studies of Snakemake's jobs; targets belong to none."""
    return sorted({job.wildcards.study for job in jobs if "study" in job.wildcards.keys()})


def finish(present: Sequence[str], failed: Sequence[str] = ()) -> None:
    """Mirror the studies of a run that has ended; in those that `failed` some jobs did, or were not begun."""
    child = None
    try:
        present = [study for study in present if Path("results", study).is_dir()]
        if not present or os.environ.get(SWITCH, "").strip().lower() == "off":
            return
        child = _spawn("sync", *present, *(f"--failed={study}" for study in failed))
        child.wait(SECONDS)
    except subprocess.TimeoutExpired:
        _warn(f"the sync took longer than {SECONDS:.0f} s and was ended; the next one writes what is missing")
    except (Exception, KeyboardInterrupt) as error:
        _warn(f"not mirrored: {type(error).__name__}; python -m attribution.tracking sync writes what is missing")
    finally:
        if child and child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


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


def _warn(text: str) -> None:
    print(f"tracking: warning: {text}", file=sys.stderr, flush=True)
