"""What readers know methods, families, query kinds and measured quantities by; nothing here draws."""

import re
from collections.abc import Sequence

from attribution.errors import StudyError

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
    "dense_ggn_type2": "Whole GGN, exact Fisher",
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


def kinds_of(found: Sequence[str]) -> list[str]:
    """The kinds among `found`, in the order of KINDS; StudyError for an unknown one or none."""
    unknown = sorted(set(found) - set(KINDS))
    if unknown or not found:
        raise StudyError(f"unknown query kind {unknown[0]}" if unknown else "nothing to draw: no query kind is given")
    return [kind for kind in KINDS if kind in found]
