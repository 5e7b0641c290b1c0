"""What a study cost, by rule: jobs, seconds, processor seconds and the largest memory, from its receipts.

Beside the memory that was used stands what the rule asks a cluster for: far more is wasted, less is killed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from attribution.provenance import chain
from attribution.provenance.ledger import Ledger

HEAD = ("rule", "jobs", "seconds", "share", "longest", "cpu s", "peak MB", "asked MB", "used")


@dataclass(frozen=True)
class Cost:
    """Of the jobs of one rule: their number, the sum and the longest of their seconds, processor seconds, peak memory.

    The last two are None where a receipt does not say; `asked_mb`, the memory that one of them asks for at first, where
    the study cannot be planned here.
    """

    step: str
    jobs: int
    seconds: float
    longest: float
    cpu_seconds: float | None
    peak_mb: float | None
    asked_mb: int | None = None


def by_rule(ledger: Ledger, asked: Mapping[str, int]) -> list[Cost]:
    """The rules of a study, the most expensive first; jobs that are no part of it any more are left out.

    asked: step -> the memory in MB that a job of it asks for (workflow/plan.py).
    """
    runs: dict[str, list[dict]] = {}
    for folder in chain.current(ledger) & ledger.receipts.keys():
        entry = ledger.receipts[folder]
        runs.setdefault(entry["step"], []).append(entry["run"])
    found = []
    for step, jobs in runs.items():
        spent, cpu, peak = ([job.get(key) for job in jobs] for key in ("seconds", "cpu_seconds", "peak_mb"))
        cpu_seconds = None if None in cpu else round(sum(cpu), 3)
        most = None if None in peak else max(peak)
        found.append(Cost(step, len(jobs), round(sum(spent), 3), max(spent), cpu_seconds, most, asked.get(step)))
    return sorted(found, key=lambda cost: (-cost.seconds, cost.step))


def table(costs: list[Cost]) -> str:
    """Columns of text, the sum last."""
    whole = sum(cost.seconds for cost in costs)
    rows = [HEAD]
    for cost in costs:
        share = f"{100 * cost.seconds / whole:.0f} %" if whole else ""
        shown = [
            cost.jobs,
            f"{cost.seconds:.1f}",
            share,
            f"{cost.longest:.1f}",
            _one(cost.cpu_seconds),
            _one(cost.peak_mb),
            "" if cost.asked_mb is None else cost.asked_mb,
            f"{100 * cost.peak_mb / cost.asked_mb:.0f} %" if cost.peak_mb and cost.asked_mb else "",
        ]
        rows.append((cost.step, *map(str, shown)))
    cpu = [cost.cpu_seconds for cost in costs]
    peak = [cost.peak_mb for cost in costs if cost.peak_mb is not None]
    longest = max((cost.longest for cost in costs), default=0.0)
    total = [sum(cost.jobs for cost in costs), f"{whole:.1f}", "", f"{longest:.1f}"]
    rows.append(
        ("all", *map(str, total), "" if None in cpu else f"{sum(cpu):.1f}", _one(max(peak, default=None)), "", "")
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _one(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
