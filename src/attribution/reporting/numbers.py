"""The reported numbers: one flat JSON object, id -> {value, interval, n, unit, source, at, receipt}.

An id is dotted words: `lds.ekfac.heldout`, `lds.ekfac_default.heldout` (the default damping instead of the one chosen
on the other half), `lds.ceiling.heldout`, `lds_difference.ekfac_trak.heldout`, `damping.ekfac.heldout`,
`reliability.crn.heldout`, `overestimate.ekfac.heldout.slope`, `cost.train.seconds`. `interval` is [low, high] or null,
and high is null where the interval has no upper end. `n` counts what the value was taken over, {"queries": 50,
"subsets": 32}. `source` is the metric file, `at` the JSON pointer to the value in it (attribution/pointers.py has them
all), `receipt` the id of the job that wrote it; from there the chain is followed by the audit.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attribution import pointers
from attribution.errors import StudyError
from attribution.reporting.names import KINDS

WORD = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
ID = re.compile(rf"{WORD}(?:\.{WORD}){{1,3}}")
_ROWS = [row[0].split(".") for rows in pointers.TABLE.values() for row in rows]
FAMILIES = {words[0] for words in _ROWS if words[2:3] == ["{kind}"]}  # of ids whose third word is a query kind

Number = dict[str, Any]
Numbers = dict[str, Number]


def number(
    value: float,
    interval: Sequence[float | None] | None,
    n: Mapping[str, int],
    unit: str,
    source: str,
    receipt: str,
    at: str,
) -> Number:
    """One reported number. Raises StudyError for NaN or infinity, an interval upside down, or no origin."""
    ends = None if interval is None else [_finite(interval[0], "interval"), _finite(interval[1], "interval", True)]
    if ends is not None and None not in ends and ends[0] > ends[1]:
        raise StudyError(f"interval {ends} of {source} is upside down")
    if not source or not receipt or not at:
        raise StudyError("a number needs the file that it comes from, its place there and the receipt of that job")
    if not n or any(not isinstance(count, int) or count < 1 for count in n.values()):
        raise StudyError(f"n of {source} must hold positive whole counts, got {dict(n)}")
    origin = {"source": source, "at": at, "receipt": receipt}
    return {"value": _finite(value, "value"), "interval": ends, "n": dict(n), "unit": unit} | origin


def of_file(metric: Any, source: str, receipt: str) -> Numbers:
    """All numbers of a metric file, by the table of pointers. Raises StudyError for an id that comes twice."""
    return assemble([{key: number(**entry)} for key, entry in pointers.numbers(source, metric, receipt)])


def cost_numbers(
    seconds: Mapping[str, float], jobs: Mapping[str, int], source: str, receipts: Mapping[str, str]
) -> Numbers:
    """`cost.<step>.seconds`: time summed over the jobs of a step; jobs: how many; receipts: that of its last job."""
    return {
        f"cost.{step}.seconds": number(
            spent, None, {"jobs": jobs[step]}, "s", source, receipts[step], pointers.RECEIPTS
        )
        for step, spent in seconds.items()
    }


def assemble(parts: Sequence[Numbers]) -> Numbers:
    """All numbers of a study in one object, sorted by id. Raises StudyError for a bad id or one that comes twice."""
    together: Numbers = {}
    for part in parts:
        for key, entry in part.items():
            check_id(key)
            if key in together:
                raise StudyError(
                    f"number {key} is reported twice, from {together[key]['source']} and {entry['source']}"
                )
            together[key] = entry
    return dict(sorted(together.items()))


def check_id(key: str) -> None:
    """StudyError where an id is not two to four dotted words, or names a query kind that does not exist."""
    if not ID.fullmatch(key):
        raise StudyError(f"number id {key!r} must be two to four dotted lower-case words, like lds.ekfac.heldout")
    words = key.split(".")
    if words[0] in FAMILIES and (len(words) < 3 or words[2] not in KINDS):
        raise StudyError(f"number id {key} must hold a query kind as third word: {', '.join(KINDS)}")


def show(entry: Number) -> str:
    """A number as readers see it: "0.74 [0.70, 0.78]"; dampings and replicates with two digits, seconds whole."""
    form = pointers.FORMS.get(entry["unit"], ".2g")
    text = _plain(format(entry["value"], form))
    if entry["interval"] is None or entry["unit"] == "damping":
        return text
    low, high = (_plain(format(end, form)) if end is not None else "∞" for end in entry["interval"])
    return f"{text} [{low}, {high}]"


def cells(prefix: str, entry: Number | None) -> dict[str, float | None]:
    """A number as columns of a table, missing where there is none: its value, and the ends of its interval."""
    low, high = (entry and entry["interval"]) or (None, None)
    return {prefix: entry and entry["value"], f"{prefix}_low": low, f"{prefix}_high": high}


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of its lines: heads, alignments, rows."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """No negative zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _finite(value: float | None, what: str, may_be_open: bool = False) -> float | None:
    if value is None and may_be_open:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise StudyError(f"{what} {value} is not a finite number: there is nothing to report")
    return float(value)
