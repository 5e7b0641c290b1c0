"""Reported numbers of attribution by unlearning: what it costs, what cheaper passes keep."""

from collections.abc import Mapping
from typing import Any

from attribution.reporting.numbers import Numbers, number

UNITS = {"steps": "steps", "capped": "share", "without_a_step": "share", "cost": "share", "recall": "share"}
MEASURES = ("cost", "recall", "rank")


def prefilter_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`<method>.unlearning.<what>`, `<method>.draws.<what>`, `<method>.prefilter.<measure>.<by>_<candidates>_<rounds>`.

    record: that of the step prefilter.
    """

    def of(entry: Mapping[str, Any], unit: str) -> Any:
        return number(entry["value"], entry["interval"], entry["n"], unit, source, receipt)

    method = record["method"]
    found = {
        f"{method}.unlearning.{what}": of(entry, UNITS.get(what, "loss"))
        for what, entry in record["unlearning"].items()
    }
    found |= {f"{method}.draws.{what}": of(entry, "correlation") for what, entry in record["draws"].items()}
    for entry in record["prefilter"]:
        setting = f"{entry['by']}_{entry['candidates']}_{entry['rounds']}"
        for measure in MEASURES:
            found[f"{method}.prefilter.{measure}.{setting}"] = of(entry[measure], UNITS.get(measure, "correlation"))
    return found
