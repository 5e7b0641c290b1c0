"""Figures of retraining: without the top examples, changes predicted and actual, and from other seeds.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it.

Shape letters: Q queries, S subsets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attribution.errors import StudyError
from attribution.reporting.figures.parts import INK, Record
from attribution.reporting.names import KINDS, kinds_of, name
from attribution.reporting.style import colour, panels, styled


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
