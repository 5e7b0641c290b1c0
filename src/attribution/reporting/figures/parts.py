"""What several figures share: the order of methods, heights of rows, bands, the legend of families."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attribution.reporting.names import families_of, kinds_of
from attribution.reporting.style import family_colour

Record = Mapping[str, Any]  # one method's "kinds" record from evaluation.evaluate
INK = "#303030"


def order(records: Mapping[str, Record]) -> list[str]:
    """Methods from best to worst by their score on training queries (or the last kind there is)."""
    kind = kinds_of(sorted({k for record in records.values() for k in record}))[-1]
    return sorted(records, key=lambda method: (-records[method].get(kind, {}).get("lds", -2.0), method))


def families(figure: Figure, methods: Sequence[str]) -> None:
    """A legend of the families' colours, above the panels."""
    found = families_of(methods)
    handles = [Line2D([], [], color=family_colour(of), marker="o", ms=6, lw=2.2, label=of) for of in found]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5))


def rows_height(methods: Sequence[str]) -> float:
    """Height of a row for each method, inches: closer where they are many."""
    return len(methods) * (0.33 if len(methods) <= 20 else 0.25)


def stripes(axes: Axes, methods: Sequence[str]) -> None:
    """A faint band behind every other row, to follow a method across the panels."""
    for row in range(0, len(methods), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f5f5f5", lw=0, zorder=0)
