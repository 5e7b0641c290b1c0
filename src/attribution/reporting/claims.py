"""The papers' findings beside the study's numbers: each claim holds, fails, is mixed, is open, or is not tested.

A claim (config/claims.yaml) is conditions on one reported number, `lds_difference.ekfac_trak.{kind} > 0`: with `{kind}`
it is made for every kind of query that the study has, else once, for all queries. A condition holds where the whole
interval of its number lies on the right side of the threshold, fails where it lies on the other side, and is open in
between; two conditions make a margin, and one that fails outweighs the other. A claim holds where it holds for every
kind, fails where it fails for some and holds for none, is mixed where it holds for some alone, and is open otherwise.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attribution.errors import StudyError
from attribution.reporting.names import KINDS
from attribution.reporting.numbers import Number, check_id, markdown, show

HOLDS, FAILS, MIXED, OPEN, UNTESTED = "holds", "fails", "mixed", "open", "not tested"
ALL = "all"  # in the place of a kind: a number of all queries together
PLACES = KINDS | {ALL: "All queries"}
KEYS = {"id": str, "text": str, "source": str, "second_hand": bool, "paper": str | None, "holds": list}
_CONDITION = re.compile(r"(?P<id>[a-z0-9_.{}]+) (?P<sign>[<>]) (?P<threshold>-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Condition:
    """A number's id, which side of the threshold its interval must lie on ("<" or ">"), and the threshold."""

    id: str
    sign: str
    threshold: float


@dataclass(frozen=True)
class Claim:
    """`text` in plain words, `source` where it stands, `second_hand` if that was read in another text about it, `paper`
    what was measured there, and its conditions, all on one number.
    """

    id: str
    text: str
    source: str
    second_hand: bool
    paper: str
    holds: tuple[Condition, ...]


def parse(entries: Any) -> list[Claim]:
    """Claims of a file. Raises StudyError for what is no list of claims, a key that is missing, unknown or of the wrong
    type, an id given twice, a condition that is not `<number id> > <threshold>`, or conditions on several numbers.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise StudyError("the file of claims must be a list of claims, each with the keys " + ", ".join(KEYS))
    claims: list[Claim] = []
    for place, entry in enumerate(entries, 1):
        name = entry.get("id", f"number {place}")
        if wrong := sorted(KEYS.keys() ^ entry.keys()):
            raise StudyError(f"claim {name}: {wrong[0]} is {'missing' if wrong[0] in KEYS else 'unknown'}")
        if wrong := [key for key, kind in KEYS.items() if not isinstance(entry[key], kind)]:
            raise StudyError(f"claim {name}: {wrong[0]} must not be {entry[wrong[0]]!r}")
        if name in [claim.id for claim in claims]:
            raise StudyError(f"claim {name}: given twice")
        conditions = tuple(_condition(name, text) for text in entry["holds"])
        if len({one.id for one in conditions}) != 1:
            raise StudyError(f"claim {name}: `holds` must have conditions, all on the same number")
        words = (entry["text"], entry["source"], entry["second_hand"], entry["paper"] or "")
        claims.append(Claim(name, *words, conditions))
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


def every(verdicts: Sequence[str]) -> str:
    """The verdict of one place from those of its conditions: a failure outweighs the rest."""
    return next((found for found in (UNTESTED, FAILS, OPEN) if found in verdicts), HOLDS)


def verdict(verdicts: Sequence[str]) -> str:
    """The verdict of a claim from those of its places: none may be missing, and places may disagree."""
    if not verdicts or UNTESTED in verdicts:
        return UNTESTED
    if HOLDS in verdicts:
        return HOLDS if set(verdicts) == {HOLDS} else MIXED
    return FAILS if FAILS in verdicts else OPEN


def judged(claim: Claim, numbers: Mapping[str, Number]) -> dict[str, tuple[Number | None, str]]:
    """Place -> its number, if there is one, and verdict: every kind of query that has a score, or ALL."""
    scored = [kind for kind in KINDS if any(re.fullmatch(rf"lds\.\w+\.{kind}", key) for key in numbers)]
    key = claim.holds[0].id
    places = scored if "{kind}" in key else [ALL]
    entries = {place: numbers.get(key.replace("{kind}", place)) for place in places}
    return {place: (entry, every([judge(one, entry) for one in claim.holds])) for place, entry in entries.items()}


def claims_csv(claims: Sequence[Claim], numbers: Mapping[str, Number]) -> str:
    """One row a claim: text, conditions, where it stands; value, low, high and verdict of each place; the verdict."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = [f"{place}{end}" for place in PLACES for end in ("", "_low", "_high", "_verdict")]
    writer.writerow(["claim", "text", "conditions", "source", "second_hand", "paper", *measured, "verdict"])
    for claim in claims:
        found = judged(claim, numbers)
        cells = [cell for place in PLACES for cell in _cells(found.get(place))]
        conditions = "; ".join(f"{one.id} {one.sign} {one.threshold:g}" for one in claim.holds)
        where = [claim.source, "yes" if claim.second_hand else "no", claim.paper]
        writer.writerow([claim.id, claim.text, conditions, *where, *cells, _overall(found)])
    return out.getvalue()


def claims_markdown(claims: Sequence[Claim], numbers: Mapping[str, Number]) -> str:
    """One row a claim: what the paper says and measured, what this study has for each place (bold where the claim holds
    there), and the verdict.
    """
    lines = [["Claim", "Paper", *PLACES.values(), "Verdict"], [":--", ":--", *["--:"] * len(PLACES), ":--"]]
    for claim in claims:
        found = judged(claim, numbers)
        source = f"second-hand: {claim.source}" if claim.second_hand else claim.source
        paper = f"{claim.paper} ({source})" if claim.paper else source
        shown = [_shown(*found[place]) if place in found else "" for place in PLACES]
        lines.append([claim.text, paper, *shown, _overall(found)])
    return markdown(lines)


def _overall(found: Mapping[str, tuple[Number | None, str]]) -> str:
    return verdict([of for _, of in found.values()])


def _cells(found: tuple[Number | None, str] | None) -> list[Any]:
    """Value, low, high and verdict for the CSV; empty for a place that the claim is not made for."""
    if found is None:
        return [""] * 4
    entry, of = found
    return [*(["", "", ""] if entry is None else [entry["value"], *entry["interval"]]), of]


def _shown(entry: Number | None, of: str) -> str:
    if entry is None:
        return ""
    return f"**{show(entry)}**" if of == HOLDS else show(entry)


def _condition(claim: str, text: Any) -> Condition:
    match = _CONDITION.fullmatch(str(text))
    if match is None:
        raise StudyError(f"claim {claim}: {text!r} is not like `lds_difference.ekfac_trak.{{kind}} > 0`")
    check_id(match["id"].replace("{kind}", next(iter(KINDS))))
    return Condition(match["id"], match["sign"], float(match["threshold"]))
