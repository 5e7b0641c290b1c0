"""Tables of scores, made from the reported numbers alone: CSV for machines, Markdown for README and report."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attribution.errors import StudyError
from attribution.reporting.numbers import Number, show
from attribution.reporting.style import KINDS, name

CEILING = "ceiling"


def methods(numbers: Mapping[str, Number]) -> list[str]:
    """Methods that have a score, best on training queries first (or on the last kind there is)."""
    scored = [key.split(".") for key in numbers if key.startswith("lds.") and key.count(".") == 2]
    kinds = [kind for kind in KINDS if any(words[2] == kind for words in scored)]
    found = {words[1] for words in scored} - {CEILING}
    found -= {f"{method}_default" for method in found}
    if not found:
        raise StudyError("no score among the numbers: there is no table to make")
    return sorted(found, key=lambda method: (-_value(numbers, f"lds.{method}.{kinds[-1]}", -2.0), method))


def lds_table(numbers: Mapping[str, Number]) -> pd.DataFrame:
    """Rows: methods by their training score, the ceiling last. Columns for each kind: score, low, high, damping (the
    one chosen), default (score at the default damping); full precision, missing where there is none.
    """
    rows = []
    for method in [*methods(numbers), CEILING]:
        row: dict[str, Any] = {"method": method}
        for kind in KINDS:
            entry = numbers.get(f"lds.{method}.{kind}")
            low, high = (entry and entry["interval"]) or (None, None)
            row |= {kind: entry and entry["value"], f"{kind}_low": low, f"{kind}_high": high}
            row[f"{kind}_damping"] = _value(numbers, f"damping.{method}.{kind}", None)
            row[f"{kind}_default"] = _value(numbers, f"lds.{method}_default.{kind}", None)
        rows.append(row)
    table = pd.DataFrame(rows).set_index("method").astype(float)
    return table if numbers.keys() & {f"lds.{CEILING}.{kind}" for kind in KINDS} else table.drop(index=CEILING)


def lds_csv(numbers: Mapping[str, Number]) -> str:
    """The table as CSV text."""
    return lds_table(numbers).to_csv(lineterminator="\n")


def lds_markdown(numbers: Mapping[str, Number]) -> str:
    """The table as Markdown: a column a kind with intervals, then the dampings chosen and the scores at the default."""
    kinds = [kind for kind in KINDS if any(key.startswith("lds.") and key.endswith(f".{kind}") for key in numbers)]
    slashed = " / ".join(KINDS[kind].lower() for kind in kinds)
    header = ["Method", *(KINDS[kind] for kind in kinds), f"Damping ({slashed})", "At the default damping"]
    lines = [header, [":--", *["--:"] * len(kinds), ":-:", ":-:"]]
    rows = methods(numbers)
    if any(f"lds.{CEILING}.{kind}" in numbers for kind in kinds):
        rows.append(CEILING)
    for method in rows:
        cells = [name(method) if method != CEILING else "*Ceiling*"]
        cells += [_shown(numbers, f"lds.{method}.{kind}") for kind in kinds]
        cells.append(_joined([_shown(numbers, f"damping.{method}.{kind}") for kind in kinds]))
        cells.append(_joined([_shown(numbers, f"lds.{method}_default.{kind}").split(" [")[0] for kind in kinds]))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _value(numbers: Mapping[str, Number], key: str, missing: float | None) -> float | None:
    return numbers[key]["value"] if key in numbers else missing


def _shown(numbers: Mapping[str, Number], key: str) -> str:
    return show(numbers[key]) if key in numbers else ""


def _joined(cells: list[str]) -> str:
    return " / ".join(cell or "-" for cell in cells) if any(cells) else ""
