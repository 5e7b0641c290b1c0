"""What Snakemake would run: its dry run, read back as jobs.

Snakemake alone decides what runs. Every rule's command holds the identity that its job was planned with, as `--spec`,
`--code` and `--lock`, and every input by name, so the commands that a dry run prints say all that there is to compare.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow.fingerprint import PACKAGE
from attribution.workflow.guard import VARIABLE

RESERVED = ("out", "spec", "code", "lock")
_RESOURCES = re.compile(r"^    resources: .*\bmem_mb=(\d+)")
_REASON = re.compile(r"^    reason: (.*)$")
_COMMAND = re.compile(rf"^Shell command: (python -m {PACKAGE}\.steps\.(\w+) .*) > \S+ 2>&1$")


@dataclass(frozen=True)
class Planned:
    """One job of a plan: its step, its folder, the identity and the files it would be given; Snakemake's own
    reason, and the memory in MB that it asks for, 0 where it does not."""

    step: str
    folder: str
    spec: dict[str, Any]
    code: str
    lock: str
    inputs: dict[str, tuple[str, ...]]
    reason: str
    memory: int = 0


def dry_run(root: Path, targets: Sequence[str], *options: str) -> list[Planned]:
    """The jobs that `snakemake -n` would run for the targets, given these options too.

    Raises StudyError with Snakemake's last line.
    """
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--cores", "1", *options, *targets]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=root, env=environment, **pipes)
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise StudyError(f"the plan cannot be made: {said[-1].strip() if said else 'snakemake said nothing'}")
    return parse(done.stdout)


def memory(root: Path, study: str) -> dict[str, int]:
    """Megabytes that a job of each step of the study asks for at first; none where Snakemake cannot plan it here."""
    try:
        return {job.step: job.memory for job in dry_run(root, [study], "--forceall") if job.memory}
    except StudyError:
        return {}


def parse(text: str) -> list[Planned]:
    """The jobs in the text of a dry run with printed commands, in its order, each folder once."""
    found: dict[str, Planned] = {}
    reason, memory = "", 0
    for line in text.splitlines():
        if match := _REASON.match(line):
            reason = match[1]
        elif match := _RESOURCES.match(line):
            memory = int(match[1])
        elif match := _COMMAND.match(line):
            flags = _flags(shlex.split(match[1])[3:])
            (folder,), (spec,), (code,), (lock,) = (flags.pop(name) for name in RESERVED)
            found[folder] = Planned(match[2], folder, json.loads(spec), code, lock, flags, reason, memory)
            memory = 0
    return list(found.values())


def _flags(words: list[str]) -> dict[str, tuple[str, ...]]:
    flags: dict[str, tuple[str, ...]] = {}
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--")
            flags[name] = ()
        else:
            flags[name] += (word,)
    return flags
