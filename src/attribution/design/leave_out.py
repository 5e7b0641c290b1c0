"""Training sets without one unit, all of the same length, and for which units they are made.

Shape letters: N units, A ablations, G samples; n images of a training set.
"""

import numpy as np

from attribution.core.rng import Name, rng
from attribution.errors import StudyError


def replaced(unit: np.ndarray, left: int, least: int, seed: int, *names: Name) -> np.ndarray:
    """Rows [n] of a training set without unit `left` (-1: whole), for images whose units are `unit` [images].

    n is the number of images, or `least` where that is more: then images repeat. At the places of the unit's images
    stand others, drawn by a stream: so all lists are equally long, and models under common random numbers meet the same
    images but there. Raises StudyError where no other unit is left.
    """
    rows = np.resize(np.arange(len(unit)), max(least, len(unit)))
    gone = unit[rows] == left
    if gone.all():
        raise StudyError(f"without unit {left} there is no image to train on")
    rows[gone] = rng(seed, "replacements", *names, left).choice(np.flatnonzero(unit != left), size=int(gone.sum()))
    return rows


def sampled_units(factual: np.ndarray, counterfactual: np.ndarray, count: int, seed: int, *names: Name) -> list[int]:
    """`count` distinct units: for the first half, the one whose ablation moves sample 0, 1, ... most; the rest drawn.

    factual [G, C, H, W], counterfactual [N, G, C, H, W]. Of a thousand units drawn at random few would matter to any
    sample. Raises StudyError where there are not so many units.
    """
    units, samples = counterfactual.shape[:2]
    if count > units:
        raise StudyError(f"{count} units to leave out, but there are {units}; lower ablation.retrain.units")
    moved = np.square(counterfactual - factual).reshape(units, samples, -1).sum(2)  # [N, G]
    top = list(dict.fromkeys(moved.argmax(0).tolist()))[: count // 2]
    others = [u for u in rng(seed, "units left out", *names).permutation(units).tolist() if u not in top]
    return top + others[: count - len(top)]
