"""One look for all figures: palette, sizes, and files that are the same bytes on every run.

Colours are seaborn's colour-blind palette. Where curves cross, they belong to the method, which keeps its colour and
marker in every figure; where rows name the methods, to its family, which has that of its best known member. Sizes fit a
README column (about 830 pixels), with text that is still read there.
"""

from pathlib import Path
from typing import Any
from zlib import crc32

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attribution.core.store import atomic

WIDTH = 8.3  # inches
_FAMILY_COLOURS = {
    "EK-FAC": 0,
    "Kernels": 1,
    "Curvature": 2,
    "Gradients": 3,
    "Combined": 4,
    "Encoded ensembles": 5,
    "Unlearning": 6,
}
_OTHER_FAMILIES = (8, 9, 7)
_COLOURS = {"ekfac": 0, "trak": 1, "kfac": 2, "gradient_dot": 3, "gradient_cosine": 4, "pixel_l2": 5, "pixel_cosine": 9}
_SPARE = (6, 8, 4, 5, 3, 1)  # palette entries for the other methods
_KNOWN = """
random pixel_cosine pixel_l2 gradient_dot gradient_cosine tracin retrac trak dtrak dtrak_l1 journey_trak relative_if
renormalised_if kfac ekfac ekfac_elbo ekfac_simplified_elbo diagonal sampled_ggn ascent forward_inf abu abu_plus mucs
ablation ensemble_rank ensemble_stack tracincp gas das full_ggn ensemble_trak ensemble_ekfac ensemble
ggn_solve astra ensemble_ggn_solve
"""  # whose looks are told apart; others take theirs by a hash of their names, so that none changes another's
_PLACES = {method: place for place, method in enumerate(_KNOWN.split())}
_MARKERS = "osD^vPX<>*h"  # 11, prime to the 6 spare colours
_OWN_MARKERS = {"trak": "d", "gradient_dot": "p", "gradient_cosine": "H", "pixel_l2": "8"}  # their colours are spare
_GREY = (0.45, 0.45, 0.45)

RC = {
    **sns.axes_style("ticks"),
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 10,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.edgecolor": "#808080",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "attribution",
    "svg.fonttype": "path",
}


styled = matplotlib.rc_context(RC)  # decorator: a figure is drawn and saved under these settings alone


def family_colour(of: str) -> tuple[float, ...]:
    """The colour of a family's rows; grey for the baselines."""
    if of == "Baselines":
        return _GREY
    other = _OTHER_FAMILIES[crc32(of.encode()) % len(_OTHER_FAMILIES)]
    return sns.color_palette("colorblind", 10)[_FAMILY_COLOURS.get(of, other)]


def colour(method: str) -> tuple[float, ...]:
    """The method's colour, the same in every figure; grey for random."""
    palette = sns.color_palette("colorblind", 10)
    if method == "random":
        return _GREY
    return palette[_COLOURS[method] if method in _COLOURS else _SPARE[_place(method) % len(_SPARE)]]


def marker(method: str) -> str:
    """The method's marker: tells apart methods that share a colour, and all of them in print."""
    return _OWN_MARKERS.get(method) or _MARKERS[_place(method) % len(_MARKERS)]


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of README width and its axes [rows, columns]; without pyplot, so no global state is left behind."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def picture(axes: Axes, image: np.ndarray) -> None:
    """Show an image [H, W, C] of values in 0..1 without interpolation; one channel is grey, NaN is blank."""
    shown = image[..., 0] if image.shape[-1] == 1 else np.nan_to_num(image, nan=1.0)
    axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    sns.despine(ax=axes, left=True, bottom=True)


@styled
def save(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write {folder}/{name}.png (192 dots an inch) and .svg; equal figures give equal bytes (no dates, fixed ids)."""
    _settle(figure)
    paths = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        path = Path(folder) / f"{name}.{suffix}"
        with atomic(path) as part:
            figure.savefig(part, format=suffix, dpi=192, metadata=metadata)
        paths.append(path)
    return paths


def _settle(figure: Figure) -> None:
    """Lay the figure out once and for all, its axes placed to 1e-9.

    The layout's solver sums in the order of addresses in memory, so its last digits vary from run to run, and SVG names
    clip paths by a hash of all of them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(side, 9) for side in axes.get_position(original=True).bounds])


def _place(method: str) -> int:
    return _PLACES.get(method, crc32(method.encode()))
