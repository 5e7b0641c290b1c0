"""Receipts: what a job computed, from what, with which code and packages, where and when.

`receipt.json` lies beside the outputs of its job and is written last: outputs without a receipt belong to a job that
did not finish. Its id is the SHA-256 of what determines the result (step, spec, code, lock, contents of the inputs), so
that it is known before the work begins; commit, date, host and paths stay outside. Recorded paths are relative to the
root.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow.spec import canonical, lock_name

FORMAT = 1
NAME = "receipt.json"
CLASSES = ("bitwise", "tolerance", "statistical")
PUBLISHED = (":!results", ":!docs", ":!README.md")  # what no job is made by
PACKAGES = ("torch", "numpy", "scipy", "diffusers", "safetensors", "scikit-learn", "pandas")


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(step: str, spec: Mapping[str, Any], code: str, lock: str, inputs: Iterable[Mapping[str, Any]]) -> str:
    """Id of a receipt: what the result depends on. Of the inputs only names and contents count, not their paths.

    The order of names does not count; the order of several files under one name does, as a step may stack them.
    """
    contents: dict[str, list[str]] = {}
    for item in inputs:
        contents.setdefault(item["name"], []).append(item["sha256"])
    parts = {"step": step, "spec": dict(spec), "code": code, "lock": lock, "inputs": contents}
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def read(folder: Path | str) -> dict[str, Any]:
    """The receipt in a job's folder. Raises StudyError where it is absent, damaged or of another format."""
    path = Path(folder, NAME)
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        if receipt["format"] != FORMAT:
            raise StudyError(f"{path}: format {receipt['format']}, this version reads {FORMAT}; rerun its job")
        if not {"id", "outputs"} <= receipt.keys():
            raise ValueError("no id or no outputs")
    except FileNotFoundError as error:
        raise StudyError(f"{path}: missing; its job did not finish") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path}: unreadable or damaged ({error}); delete its folder and rerun") from error
    return receipt


def seal(receipt: Mapping[str, Any]) -> str:
    """SHA-256 of all that a receipt says but its seal: its id leaves out the outputs, this does not."""
    return hashlib.sha256(
        canonical({key: value for key, value in receipt.items() if key != "seal"}).encode()
    ).hexdigest()


def write(folder: Path | str, receipt: Mapping[str, Any]) -> None:
    """Write `receipt.json`, sealed, whole or not at all."""
    plain = json.loads(json.dumps(receipt, allow_nan=False))  # as it will be read
    sealed = plain | {"seal": seal(plain)}
    text = json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n"
    handle, part = tempfile.mkstemp(dir=folder, prefix=f".{NAME}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, Path(folder, NAME))
    finally:
        Path(part).unlink(missing_ok=True)


def input_record(name: str, path: Path, root: Path) -> dict[str, Any]:
    """Name, path and hash of an input, with the id of the receipt beside it (null where none lies there).

    Raises StudyError where the file is missing, or is not the one that the job of its folder wrote.
    """
    if not path.is_file():
        raise StudyError(f"{path}: missing (input {name}); rerun the job that makes it")
    found, maker = sha256(path), None
    if Path(path.parent, NAME).is_file():
        receipt = read(path.parent)
        maker = receipt["id"]
        recorded = {Path(output["path"]).name: output["sha256"] for output in receipt["outputs"]}
        if path.name not in recorded:
            raise StudyError(f"{path}: not among the outputs in its receipt; delete its folder and rerun")
        if recorded[path.name] != found:
            raise StudyError(f"{path}: does not match its receipt (truncated or edited); delete its folder and rerun")
    return {"name": name, "path": relative(path, root), "sha256": found, "receipt": maker}


def output_record(path: Path, kind: str, root: Path) -> dict[str, Any]:
    """Path, hash, size and reproducibility class of an output. Raises StudyError where the job did not write it."""
    if not path.is_file():
        raise StudyError(f"{path}: was not written by the step that declares it")
    return {"path": relative(path, root), "sha256": sha256(path), "class": kind, "bytes": path.stat().st_size}


def environment(lock: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Lock and installed versions; device, threads and deterministic switches as the step recorded them.

    What the step did not record is read from torch where the step has imported it; this module never imports it.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else len(os.sched_getaffinity(0))
    switches = {"algorithms": torch.are_deterministic_algorithms_enabled()} if torch else {}
    switches |= {name: os.environ[name] for name in ("CUBLAS_WORKSPACE_CONFIG",) if name in os.environ}
    return {
        "lock": {"name": lock_name(), "hash": lock},
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "device": record.get("device", "cpu"),
        "threads": record.get("threads", threads),
        "deterministic": record.get("deterministic", switches),
    }


def commit(root: Path) -> dict[str, Any]:
    """The commit that is checked out and whether the tree differs from it, results and pages aside, which publishing
    another study writes anew; nulls where there is no git.
    """
    head = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "--", ".", *PUBLISHED) if head else None
    return {"commit": head, "dirty": None if status is None else bool(status)}


def usage() -> dict[str, float]:
    """CPU seconds of this process and its children, the larger peak of their memory in MB (2**20 bytes), and on Linux
    the seconds since the process began, Python's start and imports among them.
    """
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    used = {"cpu_seconds": round(seconds, 3), "peak_mb": round(max(own.ru_maxrss, children.ru_maxrss) / 1024, 1)}
    with contextlib.suppress(OSError):  # field 22 of proc(5): ticks from the machine's boot to the process's start
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        begun = ticks / os.sysconf("SC_CLK_TCK")
        used["wall_seconds"] = round(time.clock_gettime(time.CLOCK_BOOTTIME) - begun, 3)
    return used


def relative(path: Path, root: Path) -> str:
    """`path` relative to the root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def _versions() -> Iterable[tuple[str, str]]:
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
