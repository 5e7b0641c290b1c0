"""Which examples a retrained model sees: random subsets of a fixed fraction of the training set.

Subset s comes from its own named stream, so adding a subset changes no other (Park et al. 2023; alpha = 0.5 there).

Shape letters: N training examples, S subsets; n examples in a subset.
"""

from collections.abc import Iterable

import numpy as np

from attribution.core.rng import rng


def subset(seed: int, number: int, examples: int, fraction: float) -> np.ndarray:
    """The members [n] of subset `number`, ascending, n = round(fraction * examples), drawn without replacement."""
    size = round(fraction * examples)
    return np.sort(rng(seed, "subset", number).choice(examples, size=size, replace=False))


def masks(members: Iterable[np.ndarray], examples: int) -> np.ndarray:
    """Inclusion masks [S, N], bool, of lists of members."""
    rows = list(members)
    mask = np.zeros((len(rows), examples), dtype=bool)
    for row, included in zip(mask, rows, strict=True):
        row[included] = True
    return mask
