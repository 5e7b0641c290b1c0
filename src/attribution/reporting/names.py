"""What readers know methods, families, query kinds and measured quantities by; nothing here draws."""

import re
from collections.abc import Sequence

from attribution.errors import StudyError
from attribution.workflow import registry

KINDS = {"generated": "Generated", "heldout": "Held-out", "training": "Training"}
QUANTITIES = {
    "loss": "Loss",
    "simplified_elbo": "Simplified ELBO",
    "elbo": "ELBO",
    "squared_norm": "Squared norm",
    "l1_norm": "L1 norm",
    "trajectory": "Trajectory",
}
FAMILIES = (  # in the order of panels; others follow
    "Baselines",
    "Gradients",
    "Kernels",
    "Encoded ensembles",
    "Curvature",
    "EK-FAC",
    "Unlearning",
)
_AT = re.compile(r"loss_at_(\d+)")

name, family = registry.label, registry.family  # as methods declare them


def families_of(methods: Sequence[str]) -> list[str]:
    """The families of some methods: those of FAMILIES in that order, then the others in alphabetical order."""
    found = set(map(family, methods))
    return [of for of in FAMILIES if of in found] + sorted(found.difference(FAMILIES))


def quantity(target: str) -> str:
    """What is measured of a retrained model, as readers know it; an unknown quantity by its identifier."""
    at = _AT.fullmatch(target)
    return f"Loss at t = {at[1]}" if at else QUANTITIES.get(target, target)


def kinds_of(found: Sequence[str]) -> list[str]:
    """The kinds among `found`, in the order of KINDS; StudyError for an unknown one or none."""
    unknown = sorted(set(found) - set(KINDS))
    if unknown or not found:
        raise StudyError(f"unknown query kind {unknown[0]}" if unknown else "nothing to draw: no query kind is given")
    return [kind for kind in KINDS if kind in found]
