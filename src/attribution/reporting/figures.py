"""Figures of scores: levels by method and target, damping sweeps, draws sweeps, the seed control, what else they hold.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it. Colours belong to
methods, or to families where rows name the methods.

Shape letters: Q queries, S subsets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from attribution.errors import StudyError
from attribution.reporting.style import (
    FAMILIES,
    KINDS,
    colour,
    family,
    family_colour,
    kinds_of,
    marker,
    name,
    panels,
    quantity,
    styled,
)

Record = Mapping[str, Any]  # one method's "kinds" record from evaluation.evaluate
INK = "#303030"
CURVES = 7  # damping sweeps in one row of panels


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
    figure, grid = panels(1, len(kinds), 1.8 + _rows(methods), sharex=True, sharey=True)
    for axes, kind in zip(grid[0], kinds, strict=True):
        _stripes(axes, methods)
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
    _families(figure, methods)
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
    figure, grid = panels(1, len(kinds), 1.7 + _rows(methods), sharey=True)
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
def prevalence(records: Mapping[str, Mapping[str, Record]]) -> Figure:
    """How far queries share their top examples (left) and how far scores follow the gradients' length (right).

    One row a method, the one whose lists are shared most at the top; one marker a query kind, with its interval.
    records: method -> kind -> {overlap, norm_correlation: {value, interval}}.
    """
    sides = {
        "overlap": "Share of the top examples\nthat two queries have in common",
        "norm_correlation": "Correlation of |score| with\nthe length of the gradient",
    }
    kinds = kinds_of(sorted({kind for record in records.values() for kind in record}))
    shared = {m: np.mean([entry["overlap"]["value"] for entry in record.values()]) for m, record in records.items()}
    methods = sorted(shared, key=lambda method: (-shared[method], method))
    shapes = dict(zip(kinds, "s^D", strict=False))
    figure, grid = panels(1, len(sides), 1.9 + _rows(methods), sharey=True)
    for axes, (side, label) in zip(grid[0], sides.items(), strict=True):
        _stripes(axes, methods)
        axes.axvline(0, color="#b0b0b0", lw=1)
        for row, method in enumerate(methods):
            for place, kind in enumerate(kinds):
                if kind not in records[method]:
                    continue
                shade = family_colour(family(method))
                entry, y = records[method][kind][side], row + 0.26 * (place - (len(kinds) - 1) / 2)
                axes.plot(entry["interval"], [y, y], color=shade, lw=1.6, solid_capstyle="butt")
                axes.plot(entry["value"], y, marker=shapes[kind], ms=4.5, color=shade, mec="white", mew=0.4)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    grid[0][0].set_yticks(range(len(methods)), [name(method) for method in methods])
    grid[0][0].set_ylim(len(methods) - 0.4, -0.6)
    handles = [Line2D([], [], color=INK, marker=shapes[kind], ms=4.5, lw=1.6, label=KINDS[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    _families(figure, methods)
    return figure


@styled
def predicted_change(predicted: np.ndarray, actual: np.ndarray, kinds: np.ndarray, method: str) -> Figure:
    """Predicted against actual change of the loss, in its own units: a panel a query kind, a point a subset and query.

    predicted, actual: [S, Q]; kinds: [Q] names. The dashed line is perfect prediction; below each title the shares of
    points where the loss is predicted to fall, and where it does.
    """
    if predicted.shape != actual.shape or len(kinds) != predicted.shape[1]:
        raise StudyError(f"predicted {predicted.shape} and actual changes {actual.shape} need {len(kinds)} queries")
    found = kinds_of(sorted(set(kinds.tolist())))
    figure, grid = panels(1, len(found), 3.5)
    for axes, kind in zip(grid[0], found, strict=True):
        x, y = (values[:, kinds == kind].ravel() for values in (predicted, actual))
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axes.axhline(0, color="#b0b0b0", lw=1)
        axes.axvline(0, color="#b0b0b0", lw=1)
        axes.plot([low, high], [low, high], color="#9a9a9a", lw=1, ls=(0, (4, 2)))
        axes.scatter(x, y, s=5, color=colour(method), alpha=0.25, lw=0, rasterized=True)
        falls = f"falls: {(x < 0).mean():.0%} predicted, {(y < 0).mean():.0%} actual"
        axes.set_title(f"{KINDS[kind]}\n{falls}", fontsize=9)
    figure.supxlabel(f"Change of the loss predicted by {name(method)}", fontsize=10)
    figure.supylabel("Actual change", fontsize=10)
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


def _families(figure: Figure, methods: Sequence[str]) -> None:
    """A legend of the families' colours, above the panels."""
    found = [of for of in [*FAMILIES, "Other"] if of in map(family, methods)]
    handles = [Line2D([], [], color=family_colour(of), marker="o", ms=6, lw=2.2, label=of) for of in found]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5))


def _rows(methods: Sequence[str]) -> float:
    """Height of a row for each method, inches: closer where they are many."""
    return len(methods) * (0.33 if len(methods) <= 20 else 0.25)


def _stripes(axes: Axes, methods: Sequence[str]) -> None:
    """A faint band behind every other row, to follow a method across the panels."""
    for row in range(0, len(methods), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f5f5f5", lw=0, zorder=0)
