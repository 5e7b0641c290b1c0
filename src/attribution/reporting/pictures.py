"""Figures with images and panels: generated samples, most influential examples, predicted against measured.

Images come in as arrays [B, C, H, W] in the training range [-1, 1]; every function returns a matplotlib Figure.

Shape letters: B images, C channels, H W height and width, N training examples, Q queries, S subsets.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from attribution.errors import StudyError
from attribution.evaluation.lds import spearman
from attribution.reporting.names import name
from attribution.reporting.style import WIDTH, colour, panels, picture, styled


def mosaic(images: np.ndarray, columns: int, gap: int) -> np.ndarray:
    """Images [B, C, H, W] in [-1, 1] laid out in rows of `columns`, `gap` blank pixels between: [height, width, C].

    Values are mapped to 0..1 and clipped; blank is NaN.
    """
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        raise StudyError(f"images must have 1 or 3 channels to be shown, got {channels}")
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.nan)
    for i, image in enumerate(np.clip((images + 1) / 2, 0, 1)):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = image.transpose(1, 2, 0)
    return canvas


@styled
def samples(images: np.ndarray, columns: int) -> Figure:
    """A grid of images [B, C, H, W]."""
    shown = mosaic(images, columns, _gap(images))
    figure, grid = panels(1, 1, (WIDTH - 0.2) * shown.shape[0] / shown.shape[1] + 0.1)
    picture(grid[0][0], shown)
    return figure


@styled
def top_influences(
    queries: np.ndarray, labels: Sequence[str], images: np.ndarray, top: Mapping[str, np.ndarray]
) -> Figure:
    """Each query (a row) and, for every method, the training images that it ranks highest, best first.

    queries: [Q, C, H, W]; labels: Q texts; images: [N, C, H, W]; top: method -> [Q, k] numbers of training examples.
    """
    methods = list(top)
    counts = [top[method].shape[1] for method in methods]
    if any(len(top[method]) != len(queries) for method in methods) or len(labels) != len(queries):
        raise StudyError(f"top_influences needs a label and a list of examples for each of the {len(queries)} queries")
    gap = _gap(images)
    across = 1 + sum(counts) + 0.35 * len(methods)
    side = (WIDTH - 1.1) / across
    figure, grid = panels(
        len(queries), 1 + len(methods), 0.35 + len(queries) * side * 1.08, width_ratios=[1, *counts], sharey=False
    )
    for q, row in enumerate(grid):
        picture(row[0], mosaic(queries[q : q + 1], 1, gap))
        row[0].set_ylabel(labels[q], rotation=0, ha="right", va="center", fontsize=9)
        for axes, method in zip(row[1:], methods, strict=True):
            chosen = images[top[method][q]]
            picture(axes, mosaic(chosen, len(chosen), gap))
    grid[0][0].set_title("Query", fontsize=10)
    for axes, method in zip(grid[0][1:], methods, strict=True):
        axes.set_title(name(method), fontsize=10, color=colour(method), fontweight="bold")
    return figure


@styled
def predicted_vs_actual(
    prediction: np.ndarray, measured: np.ndarray, titles: Sequence[str], method: str, columns: int
) -> Figure:
    """Predicted group influence against measured loss over subsets, one panel a query, both standardised.

    prediction, measured: [S, Q]; titles: Q texts, to which the rank correlation is added.
    """
    if prediction.shape != measured.shape or len(titles) != prediction.shape[1]:
        raise StudyError(
            f"prediction {prediction.shape}, measured loss {measured.shape}, {len(titles)} titles: all need the same Q"
        )
    count = prediction.shape[1]
    rows = -(-count // columns)
    figure, grid = panels(rows, columns, 0.4 + rows * (0.2 + (WIDTH - 0.9) / columns), sharex=True, sharey=True)
    x, y = _standard(prediction), _standard(measured)
    correlations = spearman(prediction, measured, axis=0)
    reach = 1.08 * max(np.abs(x).max(), np.abs(y).max())
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_axis_off()
            continue
        axes.plot([-reach, reach], [-reach, reach], color="#9a9a9a", lw=1, ls=(0, (4, 2)))
        axes.scatter(x[:, i], y[:, i], s=15, color=colour(method), alpha=0.75, lw=0)
        axes.set_title(rf"{titles[i]}   $\rho$ = {correlations[i]:.2f}", fontsize=9.5)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([-2, 0, 2])
        sns.despine(ax=axes)
    figure.supxlabel(f"Predicted by {name(method)} (standard deviations)", fontsize=10)
    figure.supylabel("Measured loss (standard deviations)", fontsize=10)
    return figure


def _standard(values: np.ndarray) -> np.ndarray:
    """Values [S, Q] less their mean over subsets, in units of their deviation."""
    values = np.asarray(values, np.float64)
    return (values - values.mean(0)) / values.std(0)


def _gap(images: np.ndarray) -> int:
    return max(1, round(images.shape[-1] / 10))
