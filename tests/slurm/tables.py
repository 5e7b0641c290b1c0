"""What the tests of this folder print: the faults, and what a Slurm job costs beyond its step."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import mean
from typing import Any

OVERHEADS = (
    "jobs of one step",
    "jobs",
    "steps",
    "queued s",
    "allocated s",
    "in the step s",
    "around it s",
    "noticed after s",
)
STAMP = re.compile(r"^\[(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})\]$")
SUBMITTED = re.compile(r"^(?:Job|Group job) (\S+) has been submitted with SLURM jobid (\d+)")
FINISHED = re.compile(r"^Finished (?:jobid: (\d+)|group job (\S+))")


def slurm_jobs(cluster: Any) -> dict[str, dict[str, str]]:
    """What Slurm says of all its jobs, by their id."""
    text = cluster.run("scontrol", "--oneliner", "show", "job")
    jobs = [dict(re.findall(r"(\w[\w:/]*)=(\S*)", line)) for line in text.splitlines() if "JobId=" in line]
    return {job["JobId"]: job for job in jobs}


def seconds(job: Mapping[str, str], begin: str, end: str) -> float:
    """Between two times of a Slurm job, such as SubmitTime and StartTime."""
    return (datetime.fromisoformat(job[end]) - datetime.fromisoformat(job[begin])).total_seconds()


def noticed(log: str) -> dict[str, datetime]:
    """When Snakemake saw that a Slurm job had ended, by the job's id, from Snakemake's log."""
    found: dict[str, datetime] = {}
    ids: dict[str, str] = {}
    now = None
    for line in log.splitlines():
        if match := STAMP.match(line):
            now = datetime.strptime(match[1], "%a %b %d %H:%M:%S %Y")
        elif match := SUBMITTED.match(line):
            ids[match[1]] = match[2]
        elif (match := FINISHED.match(line)) and now and (number := ids.get(match[1] or match[2])):
            found.setdefault(number, now)  # a step in a group has no number
    return found


def overheads(jobs: Mapping[str, Mapping[str, str]], receipts: Iterable[Mapping[str, Any]], log: str) -> list[Sequence]:
    """By rule, in the order of OVERHEADS: allocations, steps, and means of seconds.

    Of the jobs that ended well at their first start; a group is a row of its own, and when its end was noticed is not
    in the log (nan).
    """
    steps: dict[str, list[Mapping[str, Any]]] = {}
    for receipt in receipts:
        steps.setdefault(receipt["run"]["slurm_job"], []).append(receipt)
    seen = noticed(log)
    rows: dict[str, list[tuple[float, ...]]] = {}
    for number, done in steps.items():
        job = jobs.get(number)
        if job is None or job["JobState"] != "COMPLETED" or job["Restarts"] != "0":
            continue
        name = done[0]["step"] if len(done) == 1 else f"group of {len(done)}"
        worked = sum(step["run"]["seconds"] for step in done)
        allocated = seconds(job, "StartTime", "EndTime")
        ended = datetime.fromisoformat(job["EndTime"])
        late = (seen[number] - ended).total_seconds() if number in seen else float("nan")
        row = (len(done), seconds(job, "SubmitTime", "StartTime"), allocated, worked, allocated - worked, late)
        rows.setdefault(name, []).append(row)
    single = [row for found in rows.values() for row in found if row[0] == 1 and row[-1] == row[-1]]
    rows = dict(sorted(rows.items())) | {"all single steps": single}
    return [(name, len(found), *map(mean, zip(*found, strict=True))) for name, found in rows.items() if found]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns of text; numbers with one decimal."""
    cells = [head, *([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for first, *others in cells:
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *padded]))
    return "\n".join(lines)
