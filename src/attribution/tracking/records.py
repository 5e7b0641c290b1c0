"""What a study left behind, in MLflow's terms: the runs of its experiment, parents before their children.

    the study                    what all jobs cost; its figures, tables and numbers are the run's artifacts
      methods / <method>         settings as parameters, LDS by query kind and what else is reported of it as metrics
      <stage> / <stage>/<who>    one run a job: its spec, cost, training curve and receipt; the stage holds their sum

A method's metrics leave its name out (`lds.generated`, not `lds.ekfac.generated`), so that one chart compares all. The
thousands of numbers that are no method's own stand in the artifact numbers.json. Standard library only.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.provenance.files import SKIPPED

STUDY, METHODS, SUMMARY = "study", "methods", "summary"
COSTS = ("seconds", "cpu_seconds", "peak_mb")
Point = tuple[str, float, int]  # metric, value, step


@dataclass(frozen=True)
class Record:
    """A run as it is to be shown; times in ms since 1970. A group stands for what lies under it, and is written anew
    where that changes; any other record that changes is another run."""

    path: str
    parent: str | None
    name: str
    started: int
    ended: int
    status: str = "FINISHED"
    group: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of all that is shown."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def of_study(folder: Path, failed: bool) -> tuple[list[Record], list[str]]:
    """The runs of results/<study>, and one line for each job that is left out as its files are damaged."""
    jobs, warnings = [], []
    for path in sorted(folder.rglob(receipt.NAME)):
        if path.relative_to(folder).parts[0] in SKIPPED:
            continue
        try:
            jobs.append(_job(folder, path.parent))
        except (StudyError, LookupError, ValueError, TypeError, AttributeError) as error:
            warnings.append(f"{path.parent.relative_to(folder).as_posix()}: not mirrored: {error}")
    if not jobs:
        return [], warnings
    numbers = next((job for job in jobs if job.path == f"{SUMMARY}/numbers"), None)
    status = "FAILED" if failed else "FINISHED" if numbers else "RUNNING"
    records = [_group(STUDY, None, folder.name, jobs, status)]
    for stage in dict.fromkeys(job.parent for job in jobs):
        records.append(_group(stage, STUDY, stage, [job for job in jobs if job.parent == stage]))
    if numbers:
        methods = list(_methods(json.loads((folder / numbers.path / "numbers.json").read_bytes()), jobs, numbers))
        records += [Record(METHODS, STUDY, METHODS, numbers.started, numbers.ended, group=True), *methods]
    return [*records, *jobs], warnings


def _job(study: Path, folder: Path) -> Record:
    """A finished job, from its receipt and its training log."""
    entry, path = receipt.read(folder), folder.relative_to(study).as_posix()
    run = entry["run"]
    started = int(1000 * datetime.fromisoformat(run["started"]).timestamp())
    tags = {name: run.get(name) for name in ("commit", "dirty", "host", "slurm_job")}
    tags |= {"step": entry["step"], "receipt": entry["id"], "code": entry["code"]["hash"]}
    log = folder / "log.jsonl"
    return Record(
        path=path,
        parent=path.partition("/")[0],
        name=path,
        started=started,
        ended=started + int(1000 * run["seconds"]),
        tags={f"attribution.{name}": str(value) for name, value in tags.items() if value is not None}
        | {"mlflow.source.name": f"attribution.steps.{entry['step']}", "mlflow.source.type": "JOB"}
        | ({"mlflow.source.git.commit": run["commit"]} if run.get("commit") else {}),
        params=dict(_flat(entry["spec"])),
        metrics={name: float(run[name]) for name in COSTS if run.get(name) is not None}
        | {"output_bytes": float(sum(output["bytes"] for output in entry["outputs"]))},
        curve=tuple(_points(log.read_text(encoding="utf-8"))) if log.is_file() else (),
    )


def _group(path: str, parent: str | None, name: str, jobs: list[Record], status: str = "FINISHED") -> Record:
    """The jobs' sum, and the largest of their memory; its tag changes where anything of them does."""
    metrics = {"jobs": float(len(jobs))}
    for cost in (*COSTS, "output_bytes"):
        known = [job.metrics[cost] for job in jobs if cost in job.metrics]
        if known:
            metrics[cost] = max(known) if cost == "peak_mb" else sum(known)
    state = hashlib.sha256("".join(job.digest for job in jobs).encode()).hexdigest()
    started, ended = min(job.started for job in jobs), max(job.ended for job in jobs)
    return Record(path, parent, name, started, ended, status, True, {"attribution.state": state}, {}, metrics)


def _methods(numbers: dict[str, Any], jobs: list[Record], made: Record) -> Iterator[Record]:
    """One run for each second word of the ids lds.<method>.<kind>: its numbers of three words, those of LDS with the
    ends of their intervals. Settings are those of the job that scored the full model."""
    scored = {job.path: job for job in jobs}
    for method in sorted({key.split(".")[1] for key in numbers if key.startswith("lds.")}):
        metrics = {}
        for key, entry in numbers.items():
            words = key.split(".")
            if len(words) != 3 or words[1] != method:
                continue
            name = f"{words[0]}.{words[2]}"
            metrics[name] = float(entry["value"])
            if words[0] == "lds" and entry["interval"]:
                ends = zip(("low", "high"), entry["interval"], strict=True)
                metrics |= {f"{name}.{end}": float(value) for end, value in ends if value is not None}
        job, tags, params = scored.get(f"scores/full/{method}"), {"attribution.method": method}, {}
        if job:
            tags["attribution.scores"] = job.tags["attribution.receipt"]
            params = {name.removeprefix(f"methods.{method}."): value for name, value in job.params.items()}
        path = f"{METHODS}/{method}"
        yield Record(path, METHODS, method, made.started, made.ended, "FINISHED", False, tags, params, metrics)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested spec -> dotted name and value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _points(log: str) -> Iterator[Point]:
    """Training log -> metrics by step; what shares its name with a job's cost is told apart."""
    for line in map(json.loads, log.splitlines()):
        for key, value in line.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                yield f"log.{key}" if key in COSTS else key, float(value), int(line["step"])
