"""What a job left behind, in MLflow's terms: receipt -> parameters, tags, metrics; training log -> metrics by step.

Reads results/<study>/<kind>/<who>/receipt.json, log.jsonl and numbers.json, and nothing else. Knows MLflow's limits on
names and values, not MLflow. A receipt lacking a field gives a run lacking it: this is a view, `audit` is the judge.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attribution.errors import StudyError

RECEIPT, LOG, NUMBERS = "receipt.json", "log.jsonl", "numbers.json"
FILES = (RECEIPT, LOG, NUMBERS)
NUMBERS_PATH = "summary/numbers"  # the one folder whose numbers.json is mirrored even without a receipt
COSTS = ("seconds", "cpu_seconds", "peak_mb")

# Limits of the oldest servers in use; those of mlflow 3 are wider.
NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 500, 5000
INPUTS_PER_TAG = 60  # receipt ids of 64 characters

Stamp = list[list[Any]]
Point = tuple[str, float, int]  # metric, value, step


@dataclass(frozen=True)
class Job:
    """A job's folder and what a look at its files says: stamp = [name, mtime in ns, bytes] of each that is there."""

    path: str
    folder: Path
    stamp: Stamp

    def time(self, name: str) -> int | None:
        """Modification time of one file in ns, None where it is absent."""
        return next((mtime for file, mtime, _ in self.stamp if file == name), None)

    @property
    def finished(self) -> bool:
        return self.time(RECEIPT) is not None or (self.path == NUMBERS_PATH and self.time(NUMBERS) is not None)


@dataclass(frozen=True)
class Record:
    """A finished job as MLflow is to show it; times in ms since 1970, `log` the raw training log."""

    path: str
    receipt: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    log: bytes
    started: int
    ended: int
    digest: str


def find(folder: Path) -> Iterator[Job]:
    """Every job folder under results/<study>; a job owns its folder, so nothing below one is searched."""
    for place, folders, files in os.walk(folder):
        path = Path(place).relative_to(folder).as_posix()
        if path == ".":
            folders[:] = [name for name in folders if name != "tracking"]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if RECEIPT in files or LOG in files or (NUMBERS in files and path == NUMBERS_PATH):
            folders.clear()
            if stamp := [entry for name in FILES if name in files and (entry := _stat(Path(place, name)))]:
                yield Job(path, Path(place), stamp)


def read(job: Job) -> Record:
    """The record of a finished job. Raises StudyError naming the file where one is unreadable or damaged."""
    present = [name for name, _, _ in job.stamp]
    receipt_bytes = _bytes(job.folder / RECEIPT) if RECEIPT in present else b"{}"
    numbers_bytes = _bytes(job.folder / NUMBERS) if NUMBERS in present else b"{}"
    receipt = _object(job.folder / RECEIPT, receipt_bytes)
    numbers = _object(job.folder / NUMBERS, numbers_bytes)
    log = _bytes(job.folder / LOG) if LOG in present else b""
    log = log if _belongs(log, job, receipt) else b""
    run = _dict(receipt.get("run"))
    started = milliseconds(run.get("started")) or int(job.stamp[0][1] // 1_000_000)
    seconds = run.get("seconds")
    digest = hashlib.sha256()
    for part in (receipt_bytes, numbers_bytes, log):
        digest.update(hashlib.sha256(part).digest())
    return Record(
        path=job.path,
        receipt=str(receipt.get("id") or f"numbers-{hashlib.sha256(numbers_bytes).hexdigest()}"),
        params=_params(receipt.get("spec")),
        tags=_tags(job.path, receipt, run),
        metrics={**_costs(receipt, run), **_numbers(numbers)},
        log=log,
        started=started,
        ended=started + int(1000 * seconds) if _number(seconds) is not None else started,
        digest=digest.hexdigest(),
    )


def points(log: bytes) -> tuple[list[Point], int]:
    """Training log -> metrics by step, and how many lines were no records. An unfinished last line is not looked at."""
    found, bad = [], 0
    for line in log[: log.rfind(b"\n") + 1].splitlines():
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            bad += 1
            continue
        for key, value in record.items():
            if key != "step" and (number := _number(value)) is not None:
                found.append((clean(f"log.{key}" if key in COSTS else key), number, step))
    return found, bad


def clean(name: str) -> str:
    """A name that MLflow takes; where it had to be changed, a piece of its hash keeps it apart from its neighbours."""
    fit = re.sub(r"[^\w.\- ]", "_", name, flags=re.ASCII).lstrip(".")
    if fit == name and 0 < len(fit) <= NAME_LENGTH:
        return fit
    return f"{fit[: NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def milliseconds(moment: Any) -> int | None:
    """ISO 8601 (UTC where no zone is given) or seconds since 1970 -> ms since 1970; None for anything else."""
    if (number := _number(moment)) is not None:
        return int(1000 * number) if math.isfinite(number) and number > 0 else None
    try:
        parsed = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return None
    return int(1000 * (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def _belongs(log: bytes, job: Job, receipt: dict[str, Any]) -> bool:
    """False for the log of a later run of the job than the receipt tells of (it is running again, or failed)."""
    for output in receipt.get("outputs") or []:
        if isinstance(output, dict) and Path(str(output.get("path"))).name == LOG:
            return output.get("sha256") == hashlib.sha256(log).hexdigest()
    return (job.time(LOG) or 0) <= (job.time(RECEIPT) or 0)


def _params(spec: Any) -> dict[str, str]:
    return {clean(name): _cut(value, PARAM_LENGTH) for name, value in _flat(spec, "") if name}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _tags(path: str, receipt: dict[str, Any], run: dict[str, Any]) -> dict[str, str]:
    environment = _dict(receipt.get("environment"))
    values = {
        "attribution.path": path,
        "attribution.step": receipt.get("step"),
        "attribution.code": _dict(receipt.get("code")).get("hash"),
        "attribution.lock": _dict(environment.get("lock")).get("hash"),
        "attribution.commit": run.get("commit"),
        "attribution.dirty": run.get("dirty"),
        "attribution.host": run.get("host"),
        "attribution.slurm_job": run.get("slurm_job"),
        "attribution.started": run.get("started"),
        "mlflow.source.git.commit": run.get("commit"),
        "mlflow.source.name": receipt.get("step") and f"attribution.steps.{receipt['step']}",
    }
    inputs = [str(item["receipt"]) for item in receipt.get("inputs") or [] if _dict(item).get("receipt")]
    inputs = list(dict.fromkeys(inputs))
    for first in range(0, len(inputs), INPUTS_PER_TAG):
        name = f"attribution.inputs.{first // INPUTS_PER_TAG}" if first else "attribution.inputs"
        values[name] = " ".join(inputs[first : first + INPUTS_PER_TAG])
    text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return {name: _cut(text[name], TAG_LENGTH) for name, value in values.items() if value not in (None, "")}


def _costs(receipt: dict[str, Any], run: dict[str, Any]) -> dict[str, float]:
    costs = {name: _number(run.get(name)) for name in COSTS}
    sizes = [_number(_dict(output).get("bytes")) for output in receipt.get("outputs") or []]
    costs["output_bytes"] = sum(size for size in sizes if size is not None)
    return {name: value for name, value in costs.items() if value is not None}


def _numbers(numbers: dict[str, Any]) -> dict[str, float]:
    """Number id -> value, and the ends of its interval as <id>.low and <id>.high."""
    found: dict[str, float | None] = {}
    for name, entry in numbers.items():
        found[name] = _number(_dict(entry).get("value"))
        interval = _dict(entry).get("interval")
        if isinstance(interval, list) and len(interval) == 2:
            found[f"{name}.low"], found[f"{name}.high"] = map(_number, interval)
    return {clean(name): value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cut(text: str, limit: int) -> str:
    mark = f"... sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def _stat(file: Path) -> list[Any] | None:
    try:
        stat = file.stat()
    except OSError:  # removed since the folder was listed
        return None
    return [file.name, stat.st_mtime_ns, stat.st_size]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StudyError(f"{file}: unreadable ({error.strerror})") from error


def _object(file: Path, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise StudyError(f"{file}: damaged ({error})") from error
    if not isinstance(value, dict):
        raise StudyError(f"{file}: damaged (no JSON object)")
    return value
