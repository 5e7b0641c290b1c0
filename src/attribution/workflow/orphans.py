"""Slurm jobs that outlived the run which submitted them: no new run starts beside them.

A killed Snakemake leaves its jobs to Slurm; its lock, which --unlock lifts, says nothing of them. Before the next run
plans, those that are queued are cancelled and those that run are waited for: their work is not lost, since what they
finish counts as done (provenance/believe.py), where it would be done twice
(tests/slurm/test_slurm_faults.py::test_a_job_that_outlived_snakemake_was_waited_for_and_recorded). On one host nothing
has to be known of such jobs, as a job's folder is locked (exclusive.py).
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import exclusive

SECONDS = 5.0  # between looks at jobs that are waited for
OTHER_MODES = ("dryrun", "unlock", "touch", "report", "summary", "detailed_summary", "lint", "dag", "rulegraph")


def clear(root: Path, studies: Iterable[str], options: Callable[[], Any]) -> None:
    """Cancel or wait for the jobs of studies whose last run was killed; return when there are none.

    `options` gives Snakemake's command line as it reads it: a dry run and other modes change nothing. Raises StudyError
    where Slurm does not say which jobs there are.
    """
    studies = list(studies)
    left = {study for study in studies if exclusive.killed(root, study, "slurm")}
    if not left or not _is_run(options):
        return
    told: list[str] = []
    while True:
        queued, running = surviving(root, left, studies)
        if queued:
            subprocess.run(["scancel", *queued], check=False, timeout=300)
        if not queued and not running:
            return
        if running and running != told:
            told = running
            jobs = ", ".join(f"Slurm job {number}" for number in running)
            print(
                f"the last run did not end by itself; waiting for what it started: {jobs}", file=sys.stderr, flush=True
            )
        time.sleep(SECONDS)


def surviving(root: Path, left: set[str], studies: Iterable[str]) -> tuple[list[str], list[str]]:
    """Ids of the queued and of the running jobs of this tree that belong to the studies `left`, one of all `studies`.

    The plugin writes "rule_<rule>_wildcards_<their values>" into a job's comment, the study's name first; a group of
    jobs names no wildcards, and might belong to any. Raises StudyError where squeue fails or is missing.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%Z|%k"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        why = " ".join((getattr(error, "stderr", None) or str(error)).split())
        files = ", ".join(str(exclusive.FOLDER / study) for study in sorted(left))
        raise StudyError(
            f"cannot tell which Slurm jobs of the run that was killed still run (squeue: {why}); "
            f"run this where squeue works or, when none of them runs, delete {files}"
        ) from error
    queued: list[str] = []
    running: list[str] = []
    for line in said.splitlines():
        number, state, folder, comment = line.split("|", 3)
        values = f"{comment.partition('_wildcards_')[2]}_"
        owner = max((study for study in studies if values.startswith(f"{study}_")), key=len, default=None)
        own = owner is None or owner in left
        if comment.startswith("rule_") and own and Path(folder).resolve() == Path(root).resolve():
            (queued if state == "PENDING" else running).append(number)
    return queued, running


def _is_run(options: Callable[[], Any]) -> bool:
    try:
        parsed = options()
    except SystemExit:
        return False
    return not any(getattr(parsed, mode, None) for mode in OTHER_MODES)
