"""The ablations of MUCS as a table: what each part of it is worth, by LDS beside the whole, paired.

A row is a variant of the method with one thing changed, from its reported numbers: `lds.<variant>.<kind>` and
`lds_difference.<variant>_mucs.<kind>`. A study without variants has an empty table, and says so.
"""

from collections.abc import Mapping

import pandas as pd

from attribution.reporting.names import KINDS, name
from attribution.reporting.numbers import Number, cells, markdown, show

WHOLE = "mucs"
CHANGED = {  # variant -> (which of the claims it isolates, what is changed)
    "mucs_unbounded": ("a", "ascent without the bound"),
    "mucs_forget_only": ("b", "nothing is retained"),
    "mucs_difference": ("c", "difference of losses for the skew"),
    "mucs_per_example": ("d", "noise shared by the two models, not by examples"),
    "mucs_independent": ("d", "noise shared by nobody, ratio of means"),
    "mucs_whole_grid": ("e", "all of the grid of noise levels"),
    "mucs_trained_noise": ("e", "noise levels of training"),
    "mucs_all": ("f", "all parameters trained"),
    "mucs_all_difference": ("f", "all parameters trained, difference of losses"),
    "mucs_few_draws": ("g", "a quarter of the draws"),
    "abu": ("h", "AbU: one Newton step with a diagonal Fisher matrix"),
}


def table(numbers: Mapping[str, Number]) -> pd.DataFrame:
    """Rows: MUCS and its variants that have a score. Columns for each kind: score, low, high, and the difference to
    MUCS with its low and high, missing for MUCS itself and where none is reported.
    """
    rows = []
    for method in _present(numbers):
        row: dict[str, float | str | None] = {"method": method}
        for kind in KINDS:
            row |= cells(kind, numbers.get(f"lds.{method}.{kind}"))
            row |= cells(f"{kind}_difference", numbers.get(f"lds_difference.{method}_{WHOLE}.{kind}"))
        rows.append(row)
    columns = ["method", *(key for kind in KINDS for key in (*cells(kind, None), *cells(f"{kind}_difference", None)))]
    return pd.DataFrame(rows, columns=columns).set_index("method")


def mucs_markdown(numbers: Mapping[str, Number]) -> str:
    """The table as Markdown: the score of each kind with its interval, and the difference to MUCS where reported."""
    present = _present(numbers)
    if not present:
        return "This study has no MUCS, and no ablations of it."
    kinds = [kind for kind in KINDS if f"lds.{present[0]}.{kind}" in numbers]
    lines = [["", "MUCS with", *(KINDS[kind] for kind in kinds), *(f"{KINDS[kind]}, less MUCS" for kind in kinds)]]
    lines.append([":-:", ":--", *["--:"] * (2 * len(kinds))])
    for method in present:
        letter, what = CHANGED.get(method, ("", name(method)))
        keys = [f"lds.{method}.{kind}" for kind in kinds]
        keys += [f"lds_difference.{method}_{WHOLE}.{kind}" for kind in kinds]
        lines.append([letter, what, *(show(numbers[key]) if key in numbers else "" for key in keys)])
    return markdown(lines)


def _present(numbers: Mapping[str, Number]) -> list[str]:
    """MUCS and the variants that have a score for some kind; none without MUCS itself."""
    scored = {key.split(".")[1] for key in numbers if key.startswith("lds.") and key.count(".") == 2}
    return [method for method in (WHOLE, *CHANGED) if method in scored] if WHOLE in scored else []
