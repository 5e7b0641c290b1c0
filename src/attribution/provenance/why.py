"""Why jobs would run: the receipt of each job's last run against what it is planned with now, and what that took.

A job runs for causes of its own (config keys, command, modules of its code, pinned packages, files added, taken away or
changed) or because a job above it runs. What is neither is told in Snakemake's words.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import believe, receipt
from attribution.provenance.ledger import Ledger, is_published, load
from attribution.workflow import fingerprint
from attribution.workflow.plan import Planned

NEVER = "has not run here"
OTHER = "has other bytes"
SHOWN = 3  # folders or values that are written out in a line


@dataclass(frozen=True)
class Rerun:
    """A planned job: its own causes, the folders above it that run too, and the seconds it took (`exact`), or those
    that jobs of its step took on average; None where none has run.
    """

    step: str
    folder: str
    causes: tuple[str, ...]
    above: tuple[str, ...]
    seconds: float | None
    exact: bool


def explain(root: Path, planned: Iterable[Planned]) -> list[Rerun]:
    """The causes of each planned job, by the receipts in results/ (seconds: also by those published)."""
    planned = list(planned)
    running = {job.folder for job in planned}
    studies = sorted({job.folder.split("/")[1] for job in planned})
    ledgers = _ledgers(root, studies)
    doubts = {folder: doubt for study in studies for folder, doubt in believe.doubts(root, study).items()}
    mean = _means(ledgers)
    found = []
    for job in planned:
        last = ledgers[job.folder.split("/")[1]][0].receipts.get(job.folder)
        above = sorted({_parent(path) for paths in job.inputs.values() for path in paths} & running)
        causes = _causes(root, job, last, running) if last else [] if job.folder in doubts else [NEVER]
        if job.folder in doubts and not above and OTHER not in " ".join(causes):
            causes.insert(0, doubts[job.folder])
        if not causes and not above:
            causes = [job.reason[:1].lower() + job.reason[1:]]
        seconds = last["run"]["seconds"] if last else mean.get(job.step)
        found.append(Rerun(job.step, job.folder, tuple(causes), tuple(above), seconds, last is not None))
    return found


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """The dotted keys in which two specs differ, each with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted(before.keys() | now.keys())
            for line in differences(before.get(name, ...), now.get(name, ...), f"{key}.{name}".lstrip("."))
        ]
    return [] if before == now and type(before) is type(now) else [f"{key}: {_plain(before)} -> {_plain(now)}"]


def text(jobs: list[Rerun]) -> str:
    """Jobs of one step and cause in one line, in the order in which they would run; then what they took."""
    if not jobs:
        return "nothing would run"
    groups: dict[tuple[str, tuple[str, ...]], list[Rerun]] = {}
    for job in jobs:
        groups.setdefault((job.step, job.causes), []).append(job)
    lines = []
    for (step, causes), members in groups.items():
        names = _few([PurePosixPath(job.folder).relative_to("results").as_posix() for job in members])
        lines.append(f"{step}: {len(members)} {'job' if len(members) == 1 else 'jobs'}, {_time(members)}: {names}")
        lines += [f"    {cause}" for cause in causes]
        if not causes:
            above = sorted({folder for job in members for folder in job.above})
            lines.append(f"    reads what runs again: {_few([folder.split('/', 2)[2] for folder in above])}")
    return "\n".join([*lines, f"{len(jobs)} jobs would run, {_time(jobs)}"])


def record(jobs: list[Rerun]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [vars(job) | {"causes": list(job.causes), "above": list(job.above)} for job in jobs]


def _causes(root: Path, job: Planned, last: dict[str, Any], running: set[str]) -> list[str]:
    found = differences(last["spec"], job.spec)
    if last["code"]["hash"] != job.code:
        found += _modules(root, job, last["code"]["modules"])
    if last["environment"]["lock"]["hash"] != job.lock:
        found.append("pinned packages changed (envs/*.lock.txt)")
    before = {item["path"]: item["sha256"] for item in last["inputs"]}
    now = [path for paths in job.inputs.values() for path in paths]
    if more := [path for path in now if path not in before]:
        found.append(f"reads more: {_few(more)}")
    if less := [path for path in before if path not in now]:
        found.append(f"no longer reads: {_few(less)}")
    for path in now:
        here = _parent(path) not in running and path in before and (root / path).is_file()
        if here and receipt.sha256(root / path) != before[path]:
            found.append(f"{path} {OTHER}")
    written = [item["path"] for item in last["outputs"]]
    if gone := [path for path in written if not (root / path).is_file()]:
        found.append(f"missing: {_few(gone)}")
    return found


def _modules(root: Path, job: Planned, before: dict[str, str]) -> list[str]:
    """The modules whose code changed, came or went since the receipt."""
    method = job.spec.get("job", {}).get("method")
    now = fingerprint.fingerprint(*fingerprint.roots(job.step, method), root=root / "src").modules
    changed = [name for name in now if name in before and before[name] != now[name]]
    said = [f"code changed: {_few(changed)}"] if changed else []
    said += [f"code imported now: {_few(more)}"] if (more := sorted(now.keys() - before.keys())) else []
    return said + ([f"code no longer imported: {_few(less)}"] if (less := sorted(before.keys() - now.keys())) else [])


def _ledgers(root: Path, studies: list[str]) -> dict[str, list[Ledger]]:
    """For each study the receipts here, then those published."""
    found = {}
    for study in studies:
        try:
            here = load(root, study, published=False)
        except StudyError:
            here = Ledger(root, study, published=False)
        found[study] = [here, *([load(root, study, published=True)] if is_published(root, study) else [])]
    return found


def _means(ledgers: dict[str, list[Ledger]]) -> dict[str, float]:
    spent: dict[str, list[float]] = {}
    for found in ledgers.values():
        for ledger in found[::-1]:  # what ran here outweighs what was published
            steps = {entry["step"] for entry in ledger.receipts.values()}
            spent = {step: values for step, values in spent.items() if step not in steps}
            for entry in ledger.receipts.values():
                spent.setdefault(entry["step"], []).append(entry["run"]["seconds"])
    return {step: sum(values) / len(values) for step, values in spent.items()}


def _time(jobs: list[Rerun]) -> str:
    """`54 s recorded`, with what is estimated or not known said apart."""
    exact = [job.seconds for job in jobs if job.exact]
    guessed = [job.seconds for job in jobs if not job.exact and job.seconds is not None]
    unknown = len(jobs) - len(exact) - len(guessed)
    parts = [f"{_seconds(sum(exact))} recorded"] if exact else []
    parts += [f"about {_seconds(sum(guessed))} for {len(guessed)} new, as others of the step"] if guessed else []
    return ", ".join(parts + ([f"{unknown} of unknown time"] if unknown else []))


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _few(items: list[str]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _plain(value: Any) -> str:
    if value is ...:
        return "absent"
    shown = receipt.canonical(value)
    return shown if len(shown) < 80 else f"{shown[:77]}..."


def _parent(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()
