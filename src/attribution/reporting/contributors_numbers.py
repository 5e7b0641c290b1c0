"""The reported numbers of a study's contributors."""

from collections.abc import Mapping
from typing import Any

from attribution.reporting.numbers import Numbers, number


def contributors_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`contributors.shapley.<property>.<contributor>`, `contributors.lds.<property>.<predictor>`,
    `contributors.lds_difference.<property>.shapley_<other>`, `contributors.agreement.<property>` and
    `contributors.steps`, of the file of the step `contributors`.

    A correlation that is not defined, as a prediction or a property is the same for all coalitions, is left out.
    """
    found: Numbers = {}

    def add(key: str, entry: Mapping[str, Any] | None, unit: str) -> None:
        if entry is not None:
            found[f"contributors.{key}"] = number(entry["value"], entry["interval"], entry["n"], unit, source, receipt)

    for name, values in record["shapley"].items():
        for contributor, entry in enumerate(values):
            add(f"shapley.{name}.c{contributor}", entry, "bits" if name == "diversity" else name)
    for part in ("lds", "lds_difference"):
        for name, entries in record[part].items():
            for predictor, entry in entries.items():
                add(f"{part}.{name}.{predictor}", entry, "correlation")
    for name, entry in record["agreement"].items():
        add(f"agreement.{name}", entry, "correlation")
    add("steps", {"value": record["steps"], "interval": None, "n": {"contributors": len(record["examples"])}}, "share")
    return found
