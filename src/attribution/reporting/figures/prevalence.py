"""Figure of what scores hold beside influence: examples on top for every query, the gradients' length.

Every function takes plain numbers and returns a matplotlib Figure; `style.save` writes it.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attribution.reporting.figures.parts import INK, Record, families, rows_height, stripes
from attribution.reporting.names import KINDS, family, kinds_of, name
from attribution.reporting.style import family_colour, panels, styled


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
    figure, grid = panels(1, len(sides), 1.9 + rows_height(methods), sharey=True)
    for axes, (side, label) in zip(grid[0], sides.items(), strict=True):
        stripes(axes, methods)
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
    families(figure, methods)
    return figure
