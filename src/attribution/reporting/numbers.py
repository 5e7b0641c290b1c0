"""The reported numbers: one flat JSON object, id -> {value, interval, n, unit, source, receipt}.

An id is dotted words: `lds.ekfac.heldout`, `lds.ekfac_default.heldout` (the default damping instead of the one chosen
on the other half), `lds.ceiling.heldout`, `lds_difference.ekfac_trak.heldout`, `damping.ekfac.heldout`,
`reliability.crn.heldout`, `overestimate.ekfac.heldout.slope`, `cost.train.seconds`. `interval` is [low, high] or null,
and high is null where the interval has no upper end. `n` counts what the value was taken over, {"queries": 50,
"subsets": 32}. `source` is the metric file, `receipt` the id of the job that wrote it; from there the chain is followed
by the audit.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attribution.errors import StudyError
from attribution.reporting.names import KINDS

WORD = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
ID = re.compile(rf"{WORD}(?:\.{WORD}){{1,3}}")
FAMILIES = (  # of ids whose third word is a query kind
    "lds",
    "lds_difference",
    "lds_tuning",
    "damping",
    "reliability",
    "overestimate",
    "prevalence",
    "prevalence_difference",
    "norm_correlation",
    "norm_correlation_difference",
)
_BY_KIND = re.compile(rf"{WORD}\.{WORD}\.(?P<kind>{WORD})(?:\.{WORD})?")

Number = dict[str, Any]
Numbers = dict[str, Number]


def number(
    value: float,
    interval: Sequence[float | None] | None,
    n: Mapping[str, int],
    unit: str,
    source: str,
    receipt: str,
) -> Number:
    """One reported number. Raises StudyError for NaN or infinity, an interval upside down, or no source or receipt."""
    ends = None if interval is None else [_finite(interval[0], "interval"), _finite(interval[1], "interval", True)]
    if ends is not None and None not in ends and ends[0] > ends[1]:
        raise StudyError(f"interval {ends} of {source} is upside down")
    if not source or not receipt:
        raise StudyError("a number needs the file that it comes from and the receipt of the job that wrote it")
    if not n or any(not isinstance(count, int) or count < 1 for count in n.values()):
        raise StudyError(f"n of {source} must hold positive whole counts, got {dict(n)}")
    value = _finite(value, "value")
    return {"value": value, "interval": ends, "n": dict(n), "unit": unit, "source": source, "receipt": receipt}


def lds_numbers(method: str, record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """Numbers of one method: `lds.<method>.<kind>`, and with dampings `lds.<method>_default.<kind>`,
    `damping.<method>.<kind>` and `damping.<method>_default.<kind>`.

    record: kind -> {lds, interval, n, selected_damping, default} of evaluation.evaluate.
    """
    found: Numbers = {}
    for kind, entry in record.items():
        n = entry["n"]
        found[f"lds.{method}.{kind}"] = number(entry["lds"], entry["interval"], n, "correlation", source, receipt)
        default = entry["default"]
        if default is None:
            continue
        found[f"lds.{method}_default.{kind}"] = number(
            default["lds"], default["interval"], n, "correlation", source, receipt
        )
        found[f"damping.{method}.{kind}"] = number(entry["selected_damping"], None, n, "damping", source, receipt)
        found[f"damping.{method}_default.{kind}"] = number(default["damping"], None, n, "damping", source, receipt)
    return found


def ceiling_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`lds.ceiling.<kind>` from kind -> {ceiling, interval, n} of ceiling.evaluate_ceiling."""
    return {
        f"lds.ceiling.{kind}": number(entry["ceiling"], entry["interval"], entry["n"], "correlation", source, receipt)
        for kind, entry in record.items()
    }


def difference_numbers(
    first: str, second: str, record: Mapping[str, Any], source: str, receipt: str, target: str | None = None
) -> Numbers:
    """`lds_difference.<first>_<second>.<kind>[.<target>]` from kind -> {value, interval, n} (intervals.difference)."""
    end = "" if target is None else f".{target}"
    return {
        f"lds_difference.{first}_{second}.{kind}{end}": number(
            entry["value"], entry["interval"], entry["n"], "correlation", source, receipt
        )
        for kind, entry in record.items()
    }


def tuning_numbers(method: str, record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`lds_tuning.<method>.<kind>`, what the damping chosen on the other half gains over the default one, and
    `lds_tuning.<method>_least.<kind>`, what it gains over the smallest of the grid.

    record: kind -> {default, least: {value, interval}, n}, paired differences.
    """
    return {
        f"lds_tuning.{name}.{kind}": number(
            entry[to]["value"], entry[to]["interval"], entry["n"], "correlation", source, receipt
        )
        for kind, entry in record.items()
        for name, to in ((method, "default"), (f"{method}_least", "least"))
    }


def overestimate_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`overestimate.<method>.<kind>.<measure>` from method -> kind -> record of evaluation.overestimate: the share of
    (subset, query) pairs where the loss is predicted to fall, and does, their difference, and the slope.
    """
    return {
        f"overestimate.{method}.{kind}.{measure}": number(
            entry[measure]["value"],
            entry[measure]["interval"],
            entry["n"],
            "slope" if measure == "slope" else "share",
            source,
            receipt,
        )
        for method, kinds in record.items()
        for kind, entry in kinds.items()
        for measure in entry
        if measure != "n"
    }


def prevalence_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`prevalence.<method>.<kind>.{overlap,distinct,most}`, `norm_correlation.<method>.<kind>`, and the differences
    `prevalence_difference.<a>_<b>.<kind>.overlap` and `norm_correlation_difference.<a>_<b>.<kind>` of the step's file.
    """
    found: Numbers = {}
    for method, kinds in record["methods"].items():
        for kind, entry in kinds.items():
            for what in ("distinct", "most"):
                found[f"prevalence.{method}.{kind}.{what}"] = number(
                    entry[what], None, entry["n"], "share", source, receipt
                )
    for end, of in (("", record["methods"]), ("_difference", record["differences"])):
        for name, kinds in of.items():
            for kind, entry in kinds.items():
                for key, what, unit in (
                    (f"prevalence{end}.{name}.{kind}.overlap", "overlap", "share"),
                    (f"norm_correlation{end}.{name}.{kind}", "norm_correlation", "correlation"),
                ):
                    measured = entry[what]
                    found[key] = number(measured["value"], measured["interval"], entry["n"], unit, source, receipt)
    return found


def control_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`reliability.{crn,own,equivalent_replicates}.<kind>` from kind -> record of ceiling.evaluate_control.

    Where no number of independent replicates suffices there is no number to report: the id is left out. An interval
    without a lower end is left out too.
    """
    found: Numbers = {}
    units = {"crn": "correlation", "own": "correlation", "equivalent_replicates": "replicates"}
    for kind, entry in record.items():
        for what, unit in units.items():
            value, interval = entry[what]["value"], entry[what]["interval"]
            if value is None:
                continue
            interval = None if interval is None or interval[0] is None else interval
            found[f"reliability.{what}.{kind}"] = number(value, interval, entry["n"], unit, source, receipt)
    return found


def removal_numbers(record: Mapping[str, Any], pairs: Sequence[tuple[str, str]], source: str, receipt: str) -> Numbers:
    """`retrain_without_top.<method>.k<percent>[.<kind>]`, the loss increase; `<method>_over_random`, the increase over
    a random removal of the same size; and for pairs of methods `retrain_difference.<a>_<b>.k<percent>[.<kind>]`.

    record: percent -> kind (or "all") -> method -> record of removal.compare.
    """
    found: Numbers = {}
    for percent, kinds in record.items():
        for kind, methods in kinds.items():
            end = f"k{percent}" if kind == "all" else f"k{percent}.{kind}"
            measured = {f"retrain_without_top.{method}.{end}": (method, entry) for method, entry in methods.items()}
            measured |= {
                f"retrain_without_top.{method}_over_random.{end}": (method, entry["over_control"])
                for method, entry in methods.items()
                if entry["over_control"] is not None
            }
            measured |= {
                f"retrain_difference.{a}_{b}.{end}": (a, methods[a]["over"][b])
                for a, b in pairs
                if a in methods and b in methods
            }
            for key, (method, entry) in measured.items():
                n = methods[method]["n"]
                found[key] = number(entry["value"], entry["interval"], n, "loss", source, receipt)
    return found


def cost_numbers(
    seconds: Mapping[str, float], jobs: Mapping[str, int], source: str, receipts: Mapping[str, str]
) -> Numbers:
    """`cost.<step>.seconds`: time summed over the jobs of a step; jobs: how many; receipts: that of its last job."""
    return {
        f"cost.{step}.seconds": number(spent, None, {"jobs": jobs[step]}, "s", source, receipts[step])
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
    placed = _BY_KIND.fullmatch(key)
    if key.split(".")[0] in FAMILIES and (placed is None or placed["kind"] not in KINDS):
        raise StudyError(f"number id {key} must hold a query kind as third word: {', '.join(KINDS)}")


FORMS = {"correlation": ".2f", "share": ".2f", "s": ".0f", "loss": ".4f", "Fréchet distance": ".1f"}
FORMS |= {"percent": ".0f", "examples": ".0f"}


def show(entry: Number) -> str:
    """A number as readers see it: "0.74 [0.70, 0.78]"; dampings and replicates with two digits, seconds whole."""
    if entry["unit"] == "damping":
        return f"{entry['value']:g}"
    form = FORMS.get(entry["unit"], ".2g")
    text = _plain(format(entry["value"], form))
    if entry["interval"] is None:
        return text
    low, high = (_plain(format(end, form)) if end is not None else "∞" for end in entry["interval"])
    return f"{text} [{low}, {high}]"


def _plain(text: str) -> str:
    """No negative zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _finite(value: float | None, what: str, may_be_open: bool = False) -> float | None:
    if value is None and may_be_open:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise StudyError(f"{what} {value} is not a finite number: there is nothing to report")
    return float(value)
