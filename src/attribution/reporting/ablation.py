"""The encoded ensembles of a study: the table by size, radius by size and counterfactuals.

Shape letters: S sizes, N units, G samples, C H W image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from attribution.reporting.numbers import Numbers, cells, markdown, show
from attribution.reporting.style import panels, picture, styled

COLUMNS = {  # of the table: what of ablation.<what>.<measure>_n<size>
    "radius.n": "Radius",
    "null.distance_n": "Distance, null rows",
    "null.share05_n": "Units with p <= 0.05",
    "radius.unattributable_n": "Unattributable",
    "far.pixel_n": "FAR, pixels",
    "far.feature_n": "FAR, features",
    "search.precision_n": "Precision of search",
    "search.cost_n": "Cost of search",
    "quality.ensemble_n": "Fréchet, ensemble",
    "quality.member_n": "Fréchet, one member",
}


def ablation_table(numbers: Numbers, sizes: Sequence[int]) -> pd.DataFrame:
    """Rows: sizes. Columns: values of COLUMNS, with low and high where there is an interval."""
    rows = []
    for size in sizes:
        row: dict[str, Any] = {"images": size}
        for what in COLUMNS:
            name = what.removesuffix("n").rstrip("_.").replace(".", "_")
            row |= cells(name, numbers.get(f"ablation.{what}{size}"))
        rows.append(row)
    return pd.DataFrame(rows).set_index("images").astype(float)


def ablation_markdown(numbers: Numbers, sizes: Sequence[int]) -> str:
    """The same as Markdown, values with their intervals."""
    lines = [["Images", *COLUMNS.values()], ["--:"] * (1 + len(COLUMNS))]
    for size in sizes:
        shown = [numbers.get(f"ablation.{what}{size}") for what in COLUMNS]
        lines.append([f"{size:,}", *(show(entry) if entry else "-" for entry in shown)])
    return markdown(lines)


@styled
def radius_by_size(
    radius: np.ndarray,
    typical: np.ndarray,
    sizes: Sequence[int],
    law: Mapping[str, float],
    exact: np.ndarray,
    first: np.ndarray,
) -> Figure:
    """Left: counterfactual radius against the number of images, [S, G], with its power law {factor, slope}, and the
    mean distance of null rows, [S, G]. Right: first-order against exact distance, [N, G] each, of the study's size.
    """
    palette = sns.color_palette("colorblind", 10)
    figure, grid = panels(1, 2, 3.6)
    left, right = grid[0]
    spread = np.exp(np.random.default_rng(0).uniform(-0.06, 0.06, radius.shape[1]))
    for values, shade, label in ((radius, palette[0], "radius"), (typical, palette[7], "null rows, mean")):
        for size, row in zip(sizes, values, strict=True):
            left.plot(size * spread, row, ".", ms=3, color=shade, alpha=0.4)
        middle = np.exp(np.log(np.maximum(values, np.finfo(np.float32).tiny)).mean(1))
        left.plot(sizes, middle, "o", ms=6, color=shade, mec="white", mew=0.6, label=label)
    x = np.array([min(sizes), max(sizes)], dtype=float)
    left.plot(x, law["factor"] * x ** law["slope"], color=palette[0], lw=1.2, label=f"~ N^{law['slope']:.2f}")
    left.set(xscale="log", yscale="log", xlabel="Training images N", ylabel="Distance of the sample")
    left.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
    left.minorticks_off()
    left.legend()
    limit = float(max(exact.max(), first.max()))
    right.plot([0, limit], [0, limit], color="#9a9a9a", lw=1, ls=(0, (4, 2)))
    right.scatter(first.ravel(), exact.ravel(), s=3, color=palette[0], alpha=0.15, lw=0, rasterized=True)
    right.set(xlabel="Distance to first order", ylabel="Exact distance")
    return figure


@styled
def counterfactuals(factual: np.ndarray, counterfactual: np.ndarray, train: np.ndarray, top: np.ndarray) -> Figure:
    """One row a sample: the sample, then pairs of a unit of most influence and the sample without it.

    factual [G, C, H, W], counterfactual [N, G, C, H, W], train [N, C, H, W] in [-1, 1]; top [G, k] units.
    """
    samples, count = top.shape
    figure, grid = panels(samples, 1 + 2 * count, 0.4 + 0.85 * samples)
    for g in range(samples):
        shown = [factual[g]]
        for unit in top[g]:
            shown += [train[unit], counterfactual[unit, g]]
        for axes, image in zip(grid[g], shown, strict=True):
            picture(axes, image.transpose(1, 2, 0).clip(-1, 1) / 2 + 0.5)
    titles = ["sample", *(text for k in range(count) for text in (f"unit {k + 1}", "without"))]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    return figure
