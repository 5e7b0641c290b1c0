"""The papers' findings beside the study's numbers: each claim holds, does not hold, is open, or is not tested here.

A claim (config/claims.yaml) is conditions on reported numbers, `lds_difference.ekfac_trak.{kind} > 0`: with `{kind}` it
is made for every kind of query that the study has. A condition holds where the whole interval of its number lies on the
right side of the threshold, fails where it lies on the other side, and is open in between. A claim holds where all its
conditions do, and does not hold where one of them fails.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attribution.errors import StudyError
from attribution.reporting.numbers import Number, check_id, show
from attribution.reporting.style import KINDS

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "open", "not tested here"
KEYS = {"id", "text", "source", "paper", "holds"}
COLUMNS = (
    "claim",
    "number",
    "sign",
    "threshold",
    "value",
    "low",
    "high",
    "verdict",
    "of_claim",
    "paper",
    "source",
)
_CONDITION = re.compile(r"(?P<id>[a-z0-9_.{}]+) (?P<sign>[<>]) (?P<threshold>-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Condition:
    """A number's id, which side of the threshold its interval must lie on ("<" or ">"), and the threshold."""

    id: str
    sign: str
    threshold: float


@dataclass(frozen=True)
class Claim:
    """`text` in plain words, `source` where it stands, `paper` what was measured there, and its conditions."""

    id: str
    text: str
    source: str
    paper: str
    holds: tuple[Condition, ...]


def parse(entries: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Claims of a file. Raises StudyError for a key that is missing or unknown, an id given twice, or a condition that
    is not `<number id> > <threshold>`.
    """
    claims: list[Claim] = []
    for place, entry in enumerate(entries, 1):
        name = entry.get("id", f"number {place}")
        if set(entry) != KEYS:
            wrong = sorted(KEYS ^ set(entry))
            raise StudyError(f"claim {name}: {wrong[0]} is {'missing' if wrong[0] in KEYS else 'unknown'}")
        if name in [claim.id for claim in claims]:
            raise StudyError(f"claim {name}: given twice")
        if not entry["holds"]:
            raise StudyError(f"claim {name}: has no condition under `holds`")
        conditions = tuple(_condition(name, text) for text in entry["holds"])
        claims.append(Claim(name, entry["text"], entry["source"], entry["paper"] or "", conditions))
    return claims


def judge(condition: Condition, entry: Number | None) -> str:
    """HOLDS, FAILS or OPEN by the number's interval; UNTESTED without a number. StudyError for one without interval."""
    if entry is None:
        return UNTESTED
    if entry["interval"] is None:
        raise StudyError(f"number {condition.id} has no interval: no claim can be tested by it")
    low, high = entry["interval"]
    above = low > condition.threshold
    below = high is not None and high < condition.threshold
    if not above and not below:
        return OPEN
    return HOLDS if above == (condition.sign == ">") else FAILS


def verdict(verdicts: Sequence[str]) -> str:
    """That of a claim from those of its conditions: none may be missing, and a failure outweighs the rest."""
    if not verdicts:
        return UNTESTED
    for found in (UNTESTED, FAILS, OPEN):
        if found in verdicts:
            return found
    return HOLDS


def conditions(claim: Claim, numbers: Mapping[str, Number]) -> list[Condition]:
    """The claim's conditions with `{kind}` written out for every kind of query that has a score."""
    kinds = [kind for kind in KINDS if any(re.fullmatch(rf"lds\.\w+\.{kind}", key) for key in numbers)]
    return [
        Condition(one.id.replace("{kind}", kind), one.sign, one.threshold)
        for one in claim.holds
        for kind in (kinds if "{kind}" in one.id else [""])
    ]


def claims_csv(claims: Sequence[Claim], numbers: Mapping[str, Number]) -> str:
    """One row a condition: the columns COLUMNS, with its verdict and the claim's."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for claim in claims:
        judged = _judged(claim, numbers)
        overall = verdict([found for _, _, found in judged])
        for one, entry, found in judged:
            value = ["", "", ""] if entry is None else [entry["value"], *entry["interval"]]
            where = [claim.paper, claim.source]
            writer.writerow([claim.id, one.id, one.sign, one.threshold, *value, found, overall, *where])
    return out.getvalue()


def claims_markdown(claims: Sequence[Claim], numbers: Mapping[str, Number]) -> str:
    """One row a claim: what the paper says and measured, what this study has, and the verdict."""
    lines = [["Claim", "There", "Here", "Verdict"], [":--", ":--", ":--", ":--"]]
    for claim in claims:
        judged = _judged(claim, numbers)
        shown = dict.fromkeys(_here(condition, entry) for condition, entry, _ in judged if entry is not None)
        there = f"{claim.paper} ({claim.source})" if claim.paper else claim.source
        lines.append([claim.text, there, "<br>".join(shown), verdict([found for _, _, found in judged])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _judged(claim: Claim, numbers: Mapping[str, Number]) -> list[tuple[Condition, Number | None, str]]:
    found = [(one, numbers.get(one.id)) for one in conditions(claim, numbers)]
    return [(one, entry, judge(one, entry)) for one, entry in found]


def _here(condition: Condition, entry: Number) -> str:
    """The number with its interval, after its kind of query where it has one."""
    kind = next((KINDS[word].lower() for word in condition.id.split(".") if word in KINDS), None)
    return f"{kind} {show(entry)}" if kind else show(entry)


def _condition(claim: str, text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise StudyError(f"claim {claim}: {text!r} is not like `lds_difference.ekfac_trak.{{kind}} > 0`")
    check_id(match["id"].replace("{kind}", next(iter(KINDS))))
    return Condition(match["id"], match["sign"], float(match["threshold"]))
