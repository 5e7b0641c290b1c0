"""Figures of scores against the damping and against the number of noise draws.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attribution.errors import StudyError
from attribution.reporting.figures.parts import INK, Record, order
from attribution.reporting.names import KINDS, family, kinds_of, name
from attribution.reporting.style import colour, marker, panels, styled

CURVES = 7  # damping sweeps in one row of panels


@styled
def damping_sweep(records: Mapping[str, Record]) -> Figure:
    """Score against damping, one column a kind, for the methods that have one: at most CURVES in a row of panels.

    Solid: reporting half; dotted: the half that chose. Full marker: the chosen damping; hollow: the default.
    records: as for lds_by_method, with sweep: [{damping, selection, reporting}] and selected_damping.
    """
    methods = [m for m in order(records) if any(entry["sweep"] for entry in records[m].values())]
    if not methods:
        raise StudyError("no damping sweep to draw: none of the methods has dampings")
    kinds = kinds_of(sorted({k for m in methods for k in records[m]}))
    groups = _groups(methods)
    figure, grid = panels(len(groups), len(kinds), 0.7 + 2.9 * len(groups), sharex=True, sharey=True)
    for row, group in zip(grid, groups, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            for method in group:
                entry = records[method].get(kind)
                if entry is not None and entry["sweep"]:
                    _curve(axes, method, entry)
            axes.set(xscale="log")
            axes.minorticks_off()
        row[0].set_ylabel("LDS")
        handles = [Line2D([], [], color=colour(m), marker=marker(m), ms=6, lw=1.8, label=name(m)) for m in group]
        row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8.5)
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.set_title(KINDS[kind])
    for axes in grid[-1]:
        axes.set_xlabel("Damping")
    handles = [
        Line2D([], [], color=INK, lw=1.8, label="half that reports"),
        Line2D([], [], color=INK, lw=1.2, ls=":", label="half that chose"),
        Line2D([], [], color=INK, marker="o", ms=6, lw=0, label="chosen"),
        Line2D([], [], color=INK, marker="o", mfc="white", ms=8, lw=0, label="default"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _groups(methods: Sequence[str]) -> list[list[str]]:
    """The methods in their order, all together or by family, in even groups of at most CURVES."""
    if len(methods) <= CURVES:
        return [list(methods)]
    families = {of: [m for m in methods if family(m) == of] for of in dict.fromkeys(map(family, methods))}
    return [
        part.tolist() for members in families.values() for part in np.array_split(members, -(-len(members) // CURVES))
    ]


def _curve(axes: Axes, method: str, entry: Mapping[str, Any]) -> None:
    """One method's two curves, its chosen damping and its default."""
    curve = pd.DataFrame(entry["sweep"]).sort_values("damping").set_index("damping")
    shade, shape = colour(method), marker(method)
    axes.plot(curve.index, curve["selection"], color=shade, lw=1.2, ls=":")
    axes.plot(curve.index, curve["reporting"], color=shade, lw=1.8, marker=shape, ms=3)
    default, chosen = entry["default"], entry["selected_damping"]
    axes.plot(default["damping"], default["lds"], marker=shape, ms=8.5, mfc="white", mec=shade, mew=1.5)
    axes.plot(chosen, curve.loc[chosen, "reporting"], marker=shape, ms=6, color=shade, mec="white", mew=0.5)


@styled
def lds_by_draws(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Score against the number of noise draws in the gradients, logarithmic, one panel a kind, one line a method.

    rows: {method, kind, draws, lds, interval: [low, high]} each.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise StudyError("no draws sweep to draw: no rows are given")
    kinds = kinds_of(sorted(set(table["kind"])))
    last = table[(table["kind"] == kinds[-1])].sort_values("draws").groupby("method")["lds"].last()
    methods = sorted(set(table["method"]), key=lambda m: (-last.get(m, -2.0), m))
    ticks = sorted(set(table["draws"]))
    figure, grid = panels(1, len(kinds), 3.3, sharex=True, sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        for method in methods:
            part = table[(table["kind"] == kind) & (table["method"] == method)].sort_values("draws")
            low, high = [[ends[i] for ends in part["interval"]] for i in (0, 1)]
            axes.fill_between(part["draws"], low, high, color=colour(method), alpha=0.15, lw=0)
            axes.plot(part["draws"], part["lds"], color=colour(method), marker=marker(method), ms=5.5, lw=1.8, mec="w")
        axes.set(xscale="log", xlabel="Noise draws a gradient", title=KINDS[kind])
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
    grid[0][0].set_ylabel("LDS")
    handles = [Line2D([], [], color=colour(m), marker=marker(m), ms=5.5, lw=1.8, label=name(m)) for m in methods]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure
