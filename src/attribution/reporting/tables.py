"""Tables of scores, made from the reported numbers alone: CSV for machines, Markdown for README and report."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attribution.errors import StudyError
from attribution.reporting.names import KINDS, name, quantity
from attribution.reporting.numbers import Number, cells, markdown, show
from attribution.workflow import registry

CEILING = "ceiling"
MAIN = "loss"  # the target of the ids that name none


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
            row |= cells(kind, numbers.get(f"lds.{method}.{kind}"))
            row[f"{kind}_damping"] = _value(numbers, f"damping.{method}.{kind}", None)
            row[f"{kind}_default"] = _value(numbers, f"lds.{method}_default.{kind}", None)
        rows.append(row)
    table = pd.DataFrame(rows).set_index("method").astype(float)
    return table if numbers.keys() & {f"lds.{CEILING}.{kind}" for kind in KINDS} else table.drop(index=CEILING)


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
        line = [name(method) if method != CEILING else "*Ceiling*"]
        line += [_shown(numbers, f"lds.{method}.{kind}") for kind in kinds]
        line.append(_joined([_shown(numbers, f"damping.{method}.{kind}") for kind in kinds]))
        line.append(_joined([_shown(numbers, f"lds.{method}_default.{kind}").split(" [")[0] for kind in kinds]))
        lines.append(line)
    return markdown(lines)


def methods_markdown(numbers: Mapping[str, Number]) -> str:
    """The same for the methods as they are declared and ensembles of them, without variants."""
    plain = [method for method in methods(numbers) if registry.plain(method)]
    ids = {f"{start}.{method}{end}" for method in plain for start in ("lds", "damping") for end in ("", "_default")}
    ids.add(f"lds.{CEILING}")
    return lds_markdown({key: entry for key, entry in numbers.items() if key.rpartition(".")[0] in ids})


def targets(numbers: Mapping[str, Number]) -> list[str]:
    """What retrained models were measured by: the loss, then the others in the order of their ids."""
    others = {words[3] for key in numbers if (words := key.split("."))[0] == "lds" and len(words) == 4}
    return [MAIN, *sorted(others)]


def targets_table(numbers: Mapping[str, Number]) -> pd.DataFrame:
    """Rows: methods by their training score of the loss. Columns for each target and kind: score, low, high."""
    rows = []
    for method in methods(numbers):
        row: dict[str, Any] = {"method": method}
        for target in targets(numbers):
            for kind in KINDS:
                row |= cells(f"{target}_{kind}", numbers.get(_id(method, kind, target)))
        rows.append(row)
    return pd.DataFrame(rows).set_index("method").astype(float)


def targets_markdown(numbers: Mapping[str, Number]) -> str:
    """The table of targets as Markdown: a column a target, its kinds in one cell, the best of each in bold."""
    table, found = targets_table(numbers), targets(numbers)
    kinds = [kind for kind in KINDS if table[f"{MAIN}_{kind}"].notna().any()]
    slashed = " / ".join(KINDS[kind].lower() for kind in kinds)
    lines = [[f"LDS, {slashed}", *map(quantity, found)], [":--", *["--:"] * len(found)]]
    for method, row in table.iterrows():
        line = [name(method)]
        for target in found:
            columns = [f"{target}_{kind}" for kind in kinds]
            shown = [_shown(numbers, _id(method, kind, target)).split(" [")[0] for kind in kinds]
            best = [row[column] == table[column].max() for column in columns]
            line.append(_joined([f"**{cell}**" if top else cell for cell, top in zip(shown, best, strict=True)]))
        lines.append(line)
    return markdown(lines)


def _id(method: str, kind: str, target: str) -> str:
    return f"lds.{method}.{kind}" if target == MAIN else f"lds.{method}.{kind}.{target}"


def _value(numbers: Mapping[str, Number], key: str, missing: float | None) -> float | None:
    return numbers[key]["value"] if key in numbers else missing


def _shown(numbers: Mapping[str, Number], key: str) -> str:
    return show(numbers[key]) if key in numbers else ""


def _joined(parts: list[str]) -> str:
    return " / ".join(part or "-" for part in parts) if any(parts) else ""
