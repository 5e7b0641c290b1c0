"""The contributors of a study: what predicts the properties of models, and what each contributor is worth.

Shape letters: n contributors, K coalitions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from attribution.reporting.names import name
from attribution.reporting.numbers import Numbers, cells, markdown, show
from attribution.reporting.style import panels, styled

PROPERTIES = {  # of evaluation/properties.py, as columns
    "loss": "Held-out loss",
    "quality": "Quality",
    "diversity": "Diversity",
    "query": "Loss of a query",
}
OWN = {  # predictors that are no methods of the study
    "finetuned": "*The coalition's own fine-tuned model*",
    "shapley": "Shapley, size taken out",
    "shapley_plain": "Shapley, plain fit",
    "leave_one_out": "Leave one out",
    "alone": "Alone",
    "examples": "Number of examples",
}


def contributors_table(numbers: Numbers, methods: Sequence[str]) -> pd.DataFrame:
    """Rows: predictors. Columns: their LDS for PROPERTIES, with low and high."""
    rows = []
    for predictor, entries in _rows(numbers, methods):
        row: dict[str, Any] = {"predictor": predictor}
        for what, entry in entries.items():
            row |= cells(what, entry)
        rows.append(row)
    return pd.DataFrame(rows).set_index("predictor").astype(float)


def contributors_markdown(numbers: Numbers, methods: Sequence[str]) -> str:
    """The same as Markdown, values with their intervals."""
    lines = [["Prediction of models trained anew", *PROPERTIES.values()], [":--", *["--:"] * len(PROPERTIES)]]
    for predictor, entries in _rows(numbers, methods):
        shown = [show(entry) if entry else "-" for entry in entries.values()]
        lines.append([OWN.get(predictor) or name(predictor), *shown])
    return markdown(lines)


def _rows(numbers: Numbers, methods: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Predictor -> property -> its number, or none."""
    return [
        (predictor, {what: numbers.get(f"contributors.lds.{what}.{predictor}") for what in PROPERTIES})
        for predictor in (*OWN, *methods)
    ]


@styled
def shapley_values(arrays: Mapping[str, np.ndarray]) -> Figure:
    """A column a property. Above: each contributor's Shapley value [n] with its interval [2, n]; below: the property of
    fine-tuned against retrained models [K] of the same coalitions.
    """
    shown = [what for what in PROPERTIES if f"shapley.{what}" in arrays]
    shade = sns.color_palette("colorblind", 10)[0]
    figure, grid = panels(2, len(shown), 5.2)
    for above, below, what in zip(*grid, shown, strict=True):
        values, (low, high) = arrays[f"shapley.{what}"], arrays[f"interval.{what}"]
        at = np.arange(len(values))
        above.axhline(0, color="#9a9a9a", lw=1)
        above.vlines(at, low, high, color=shade, lw=1.4)
        above.plot(at, values, "o", ms=4, color=shade)
        above.set(title=PROPERTIES[what], xlabel="Contributor", ylabel="Shapley value" if what == shown[0] else "")
        below.scatter(arrays[f"retrained.{what}"], arrays[f"finetuned.{what}"], s=16, color=shade, alpha=0.75, lw=0)
        below.set(xlabel="Trained anew", ylabel="Fine-tuned" if what == shown[0] else "")
    return figure
