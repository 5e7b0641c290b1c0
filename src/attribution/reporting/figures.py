"""Figures of scores: levels by method, damping sweeps, draws sweeps, the seed control.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it. Colours belong to methods.

Shape letters: B resamples, Q queries, S subsets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from attribution.errors import StudyError
from attribution.reporting.style import KINDS, colour, kinds_of, marker, name, panels, styled

Record = Mapping[str, Any]  # one method's "kinds" record from evaluation.evaluate
INK = "#303030"


def order(records: Mapping[str, Record]) -> list[str]:
    """Methods from best to worst by their score on training queries (or the last kind there is)."""
    kind = kinds_of(sorted({k for record in records.values() for k in record}))[-1]
    return sorted(records, key=lambda method: (-records[method].get(kind, {}).get("lds", -2.0), method))


@styled
def lds_by_method(records: Mapping[str, Record], ceilings: Mapping[str, Record]) -> Figure:
    """One row a method, one panel a query kind: the score with its interval, the default damping hollow.

    records: method -> kind -> {lds, interval, default: {lds} or null}; ceilings: kind -> {ceiling, interval}, drawn as
    a line with a band.
    """
    methods = order(records)
    kinds = kinds_of(sorted({k for record in records.values() for k in record}))
    figure, grid = panels(1, len(kinds), 1.5 + 0.33 * len(methods), sharex=True, sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.axvline(0, color="#b0b0b0", lw=1)
        if kind in ceilings:
            axes.axvspan(*ceilings[kind]["interval"], color="#808080", alpha=0.18, lw=0)
            axes.axvline(ceilings[kind]["ceiling"], color=INK, lw=1.2, ls=(0, (4, 2)))
        for row, method in enumerate(methods):
            entry = records[method].get(kind)
            if entry is None:
                continue
            shade = colour(method)
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
    return figure


@styled
def damping_sweep(records: Mapping[str, Record]) -> Figure:
    """Score against damping, one panel a kind, for the methods that have one.

    Solid: reporting half; dotted: the half that chose. Full marker: the chosen damping; hollow: the default.
    records: as for lds_by_method, with sweep: [{damping, selection, reporting}] and selected_damping.
    """
    methods = [m for m in order(records) if any(entry["sweep"] for entry in records[m].values())]
    if not methods:
        raise StudyError("no damping sweep to draw: none of the methods has dampings")
    kinds = kinds_of(sorted({k for m in methods for k in records[m]}))
    figure, grid = panels(1, len(kinds), 3.4, sharex=True, sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        for method in methods:
            entry = records[method].get(kind)
            if entry is None or not entry["sweep"]:
                continue
            curve = pd.DataFrame(entry["sweep"]).sort_values("damping").set_index("damping")
            shade, shape = colour(method), marker(method)
            axes.plot(curve.index, curve["selection"], color=shade, lw=1.2, ls=":")
            axes.plot(curve.index, curve["reporting"], color=shade, lw=1.8)
            default = entry["default"]
            axes.plot(default["damping"], default["lds"], marker=shape, ms=8.5, mfc="white", mec=shade, mew=1.5)
            chosen = entry["selected_damping"]
            axes.plot(chosen, curve.loc[chosen, "reporting"], marker=shape, ms=6, color=shade, mec="white", mew=0.5)
        axes.set(xscale="log", xlabel="Damping", title=KINDS[kind])
        axes.minorticks_off()
    grid[0][0].set_ylabel("LDS")
    handles = [Line2D([], [], color=colour(m), marker=marker(m), ms=6, lw=1.8, label=name(m)) for m in methods]
    handles += [
        Line2D([], [], color=INK, lw=1.2, ls=":", label="half that chose"),
        Line2D([], [], color=INK, marker="o", mfc="white", ms=8, lw=0, label="default"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure


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


@styled
def retrain_without_top(percents: Mapping[str, Mapping[str, Record]]) -> Figure:
    """Loss increase of a query after retraining without its top examples, one panel a share removed, one row a method.

    percents: percent -> kind or "all" -> method -> {value, interval}; drawn is "all", kind by kind hollow beside it.
    """
    shares = sorted(percents, key=int)
    methods = sorted(percents[shares[-1]]["all"], key=lambda method: -percents[shares[-1]]["all"][method]["value"])
    figure, grid = panels(1, len(shares), 1.5 + 0.4 * len(methods), sharey=True)
    kinds = kinds_of(sorted(set(percents[shares[0]]) - {"all"}))
    shapes = dict(zip(kinds, "s^D", strict=False))
    for axes, share in zip(grid[0], shares, strict=True):
        axes.axvline(0, color="#b0b0b0", lw=1)
        for row, method in enumerate(methods):
            shade, entry = colour(method), percents[share]["all"][method]
            for kind in kinds:
                value = percents[share][kind][method]["value"]
                axes.plot(value, row + 0.27, marker=shapes[kind], ms=4.5, mfc="white", mec=shade, mew=1.1)
            axes.plot(entry["interval"], [row, row], color=shade, lw=2.2, solid_capstyle="butt")
            axes.plot(entry["value"], row, marker="o", ms=6, color=shade, mec="white", mew=0.6)
        axes.set_title(f"Top {share}% removed")
        axes.set_xlabel("Increase of the query's loss")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    grid[0][0].set_yticks(range(len(methods)), [name(method) for method in methods])
    grid[0][0].set_ylim(len(methods) - 0.4, -0.6)
    handles = [Line2D([], [], color=INK, marker="o", ms=6, lw=2.2, label="all queries")]
    handles += [
        Line2D([], [], color=INK, marker=shapes[kind], ms=4.5, mfc="white", lw=0, label=KINDS[kind]) for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@styled
def seed_control(control: Mapping[str, Record]) -> Figure:
    """Reliability of one replicate, common random numbers against independent seeds, one row a query kind.

    control: kind -> {crn, own, equivalent_replicates}, each {value, interval}; a null value or end means that no number
    of independent replicates suffices.
    """
    kinds = kinds_of(sorted(control))
    figure, grid = panels(1, 1, 1.3 + 0.62 * len(kinds))
    axes: Axes = grid[0][0]
    palette = sns.color_palette("colorblind", 10)
    styles = {"crn": (palette[0], "o", -0.13, "common random numbers"), "own": (palette[3], "D", 0.13, "own seeds")}
    top = max(max(control[kind][sort]["interval"]) for kind in kinds for sort in styles)
    axes.axvline(0, color="#b0b0b0", lw=1)
    for row, kind in enumerate(kinds):
        for sort, (shade, shape, shift, _) in styles.items():
            entry = control[kind][sort]
            axes.plot(entry["interval"], [row + shift] * 2, color=shade, lw=2.2, solid_capstyle="butt")
            axes.plot(entry["value"], row + shift, marker=shape, ms=7, color=shade, mec="white", mew=0.6)
        worth = worth_text(control[kind]["equivalent_replicates"])
        axes.text(max(top, 1.0) + 0.04, row, worth, va="center", fontsize=9.5, color=INK)
    axes.set_yticks(range(len(kinds)), [KINDS[kind] for kind in kinds])
    axes.set_ylim(len(kinds) - 0.45, -0.55)
    axes.set_xlim(None, max(top, 1.0))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Correlation between two replicates over subsets")
    handles = [Line2D([], [], color=c, marker=m, ms=7, lw=2.2, label=label) for c, m, _, label in styles.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def worth_text(entry: Mapping[str, Any]) -> str:
    """What one replicate with common random numbers is worth, in words, with the interval."""
    value, (low, high) = entry["value"], entry["interval"]
    if value is None:
        return "own seeds show\nno agreement" if low is None else f"worth more than {low:.2g}\nwith own seeds"
    return f"worth {value:.2g} with\nown seeds [{low:.2g}, {'∞' if high is None else format(high, '.2g')}]"
