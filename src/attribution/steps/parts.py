"""A part of the training set or of the queries: what one job of a map over examples works on."""

from typing import Any

from attribution.steps.loading import Examples


def part_of(data: Examples, job: dict[str, Any]) -> Examples:
    """The examples first..last, both included, that the job's part names; all of them where it names none."""
    rows = slice(job["first"], job["last"] + 1) if "first" in job else slice(None)
    return Examples(data.images[rows], data.names[rows])
