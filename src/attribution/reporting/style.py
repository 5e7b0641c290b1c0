"""One look for all figures: palette, names, sizes, and files that are the same bytes on every run.

Colours are seaborn's colour-blind palette. Where curves cross, they belong to the method, which keeps its colour and
marker in every figure; where rows name the methods, to its family, which has that of its best known member. Sizes fit a
README column (about 830 pixels), with text that is still read there.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attribution.core.store import atomic
from attribution.errors import StudyError

WIDTH = 8.3  # inches
KINDS = {"generated": "Generated", "heldout": "Held-out", "training": "Training"}
METHODS = {
    "random": "Random",
    "pixel_cosine": "Pixel cosine",
    "pixel_l2": "Pixel distance",
    "same_class": "Same class",
    "gradient_dot": "Gradient dot",
    "gradient_cosine": "Gradient cosine",
    "tracin": "TracIn",
    "retrac": "ReTrac",
    "trak": "TRAK",
    "dtrak": "D-TRAK",
    "dtrak_l1": "D-TRAK, L1",
    "journey_trak": "Journey-TRAK",
    "relative_if": "RelatIF",
    "renormalised_if": "Renormalised",
    "kfac": "K-FAC",
    "ekfac": "EK-FAC",
    "ekfac_elbo": "EK-FAC of the ELBO",
    "ekfac_simplified_elbo": "EK-FAC of simplified ELBO",
    "diagonal": "Diagonal GGN",
    "exact_ggn": "Exact GGN",
    "ascent": "Ascent",
    "forward_inf": "Forward-INF",
    "abu": "AbU",
    "abu_plus": "AbU+",
    "mucs": "MUCS",
    "ablation": "Ablation",
    "ensemble_rank": "Ensemble rank",
    "ensemble_stack": "Ensemble stack",
    "tracincp": "TracInCP",
    "gas": "GAS",
    "das": "DAS",
    "trak_count": "TRAK, count-sketch",
    "trak_rademacher": "TRAK, projected",
    "diagonal_loss": "Diagonal, loss split",
    "exact_ggn_loss": "Exact GGN, loss split",
    "dense_ggn": "Whole GGN",
    "dense_ggn_mc": "Whole GGN, sampled",
    "dense_ggn_loss": "Whole GGN, loss split",
    "kfac_reduce": "K-FAC, reduce",
    "kfac_loss": "K-FAC, loss split",
    "kfac_loss_reduce": "K-FAC, loss split, reduce",
    "kfac_type2": "K-FAC, exact Fisher",
    "ekfac_reduce": "EK-FAC, reduce",
    "ekfac_loss": "EK-FAC, loss split",
    "ekfac_averaged": "EK-FAC, averaged draws",
    "ekfac_type2": "EK-FAC, exact Fisher",
    "ekfac_block": "EK-FAC, damping per layer",
    "ekfac_8bit": "EK-FAC in 8 bits",
    "ekfac_trajectory": "EK-FAC of the trajectory",
    "ekfac_squared_norm": "EK-FAC of the squared norm",
    "ensemble_trak": "TRAK, ensemble",
    "ensemble_ekfac": "EK-FAC, ensemble",
    "mucs_unbounded": "MUCS, unbounded",
    "mucs_forget_only": "MUCS, retaining nothing",
    "mucs_difference": "MUCS, differences",
    "mucs_per_example": "MUCS, noise per example",
    "mucs_independent": "MUCS, noise per model",
    "mucs_whole_grid": "MUCS, whole grid",
    "mucs_trained_noise": "MUCS, noise of training",
    "mucs_few_draws": "MUCS, few draws",
    "mucs_all": "MUCS, all parameters",
    "mucs_all_difference": "MUCS, all, differences",
}
QUANTITIES = {
    "loss": "Loss",
    "simplified_elbo": "Simplified ELBO",
    "elbo": "ELBO",
    "squared_norm": "Squared norm",
    "l1_norm": "L1 norm",
    "trajectory": "Trajectory",
}
_AT = re.compile(r"(?:(?P<method>[a-z0-9_]+)_)?loss_at_(?P<timestep>\d+)")
FAMILIES = {  # methods that share a panel or a colour, by the first words of their names
    "Baselines": ("random", "pixel", "same_class"),
    "Gradients": ("gradient", "tracin", "tracincp", "gas", "retrac"),
    "Kernels": ("trak", "dtrak", "journey_trak", "relative_if", "renormalised_if", "das", "ensemble_trak"),
    "Ensembles": ("ablation",),
    "Curvature": ("kfac", "diagonal", "exact_ggn", "dense_ggn"),
    "EK-FAC": ("ekfac", "ensemble_ekfac"),
    "Unlearning": ("mucs", "ascent", "forward_inf", "abu", "abu_plus"),
}
_FAMILY_COLOURS = {
    "EK-FAC": 0,
    "Kernels": 1,
    "Curvature": 2,
    "Gradients": 3,
    "Other": 4,
    "Ensembles": 5,
    "Unlearning": 6,
}
_COLOURS = {"ekfac": 0, "trak": 1, "kfac": 2, "gradient_dot": 3, "gradient_cosine": 4, "pixel_l2": 5, "pixel_cosine": 9}
_SPARE = (6, 8, 4, 5, 3, 1)  # palette entries for the other methods, in the order of METHODS
_MARKERS = "osD^vPX<>*h"  # 11, prime to the 6 spare colours: the pairs repeat after 66 methods
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


def name(method: str) -> str:
    """The method as readers know it; an unknown one by its identifier."""
    at = _AT.fullmatch(method)
    if at and at["method"]:
        return f"{name(at['method'])} of loss at t = {at['timestep']}"
    return METHODS.get(method, method)


def family(method: str) -> str:
    """The family that a method is drawn with; "Other" for none of FAMILIES."""
    return next(
        (of for of, starts in FAMILIES.items() if f"{method}_".startswith(tuple(f"{s}_" for s in starts))), "Other"
    )


def quantity(target: str) -> str:
    """What is measured of a retrained model, as readers know it; an unknown quantity by its identifier."""
    at = _AT.fullmatch(target)
    return f"Loss at t = {at['timestep']}" if at else QUANTITIES.get(target, target)


def family_colour(of: str) -> tuple[float, ...]:
    """The colour of a family's rows; grey for the baselines."""
    return _GREY if of == "Baselines" else sns.color_palette("colorblind", 10)[_FAMILY_COLOURS[of]]


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


def kinds_of(found: Sequence[str]) -> list[str]:
    """The kinds among `found`, in the order of KINDS; StudyError for an unknown one or none."""
    unknown = sorted(set(found) - set(KINDS))
    if unknown or not found:
        raise StudyError(f"unknown query kind {unknown[0]}" if unknown else "nothing to draw: no query kind is given")
    return [kind for kind in KINDS if kind in found]


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
    paths = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        path = Path(folder) / f"{name}.{suffix}"
        with atomic(path) as part:
            figure.savefig(part, format=suffix, dpi=192, metadata=metadata)
        paths.append(path)
    return paths


def _place(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS) + sum(method.encode())
