"""Figures of scores: levels by method with the ceiling, and by what was measured of the retrained models.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from attribution.reporting.figures.parts import INK, Record, families, order, rows_height, stripes
from attribution.reporting.names import KINDS, family, kinds_of, name, quantity
from attribution.reporting.style import family_colour, panels, styled


@styled
def lds_by_method(records: Mapping[str, Record], ceilings: Mapping[str, Record]) -> Figure:
    """One row a method, one panel a query kind: the score with its interval, the default damping hollow.

    records: method -> kind -> {lds, interval, default: {lds} or null}; ceilings: kind -> {ceiling, interval}, drawn as
    a line with a band.
    """
    methods = order(records)
    kinds = kinds_of(sorted({k for record in records.values() for k in record}))
    figure, grid = panels(1, len(kinds), 1.8 + rows_height(methods), sharex=True, sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        stripes(axes, methods)
        axes.axvline(0, color="#b0b0b0", lw=1)
        if kind in ceilings:
            axes.axvspan(*ceilings[kind]["interval"], color="#808080", alpha=0.18, lw=0)
            axes.axvline(ceilings[kind]["ceiling"], color=INK, lw=1.2, ls=(0, (4, 2)))
        for row, method in enumerate(methods):
            entry = records[method].get(kind)
            if entry is None:
                continue
            shade = family_colour(family(method))
            if entry.get("default"):
                axes.plot(entry["default"]["lds"], row + 0.27, marker="o", ms=5, mfc="white", mec=shade, mew=1.2)
            axes.plot(entry["interval"], [row, row], color=shade, lw=2.2, solid_capstyle="butt", zorder=2)
            axes.plot(entry["lds"], row, marker="o", ms=6, color=shade, mec="white", mew=0.6, zorder=4)
        axes.set_title(KINDS[kind])
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("LDS")
        axes.xaxis.set_major_locator(MultipleLocator(0.25))
        axes.xaxis.set_major_formatter("{x:g}")
    grid[0][0].set_yticks(range(len(methods)), [name(method) for method in methods])
    grid[0][0].set_ylim(len(methods) - 0.4, -0.6)
    grid[0][0].set_xlim(None, 1.03)
    handles = [
        Line2D([], [], color=INK, marker="o", ms=6, lw=2.2, label="damping chosen on the other half"),
        Line2D([], [], color=INK, marker="o", ms=5, mfc="white", mew=1.2, lw=0, label="default damping"),
    ]
    if ceilings:
        handles.append(Line2D([], [], color=INK, lw=1.2, ls=(0, (4, 2)), label="ceiling of the measured losses"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    families(figure, methods)
    return figure


@styled
def targets(records: Mapping[str, Mapping[str, Record]]) -> Figure:
    """Heat map of the score, one panel a query kind, rows the methods, columns what the retrained models measured.

    records: method -> target -> kind -> {lds}; the first target orders the methods.
    """
    first = next(iter(next(iter(records.values()))))
    methods = order({method: by_target[first] for method, by_target in records.items()})
    columns = list(records[methods[0]])
    kinds = kinds_of(sorted({kind for method in methods for kind in records[method][first]}))
    tables = {
        kind: pd.DataFrame({t: {m: records[m][t].get(kind, {}).get("lds") for m in methods} for t in columns}, methods)
        for kind in kinds
    }
    reach = max(0.1, max(np.nanmax(np.abs(table.to_numpy(float))) for table in tables.values()))
    figure, grid = panels(1, len(kinds), 1.7 + rows_height(methods), sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        sns.heatmap(
            tables[kind].astype(float),
            ax=axes,
            cmap="vlag_r",
            vmin=-reach,
            vmax=reach,
            annot=True,
            fmt=".2f",
            annot_kws={"fontsize": 7},
            cbar=False,
            linewidths=0.5,
        )
        axes.set_title(KINDS[kind])
        axes.set_xticks(np.arange(len(columns)) + 0.5, [quantity(t) for t in columns], rotation=45, ha="right")
        axes.tick_params(length=0, labelleft=kind == kinds[0])
    grid[0][0].set_yticks(np.arange(len(methods)) + 0.5, [name(method) for method in methods], rotation=0)
    figure.supxlabel("LDS against", fontsize=10)
    return figure
