"""Which examples of a dataset a study trains on and which it holds out: one named order, cut from both ends.

Shape letters: N examples of the whole dataset.
"""

from dataclasses import dataclass

import numpy as np

from attribution.core.rng import rng
from attribution.data.dataset import TEST_PART, Dataset
from attribution.errors import StudyError


@dataclass(frozen=True)
class Split:
    """Rows of the dataset, in the study's order.

    train:   [data.train] int64
    heldout: [rest] int64, every example that may be held out; a study takes as many as it asks, from the front
    """

    train: np.ndarray
    heldout: np.ndarray


def split(dataset: Dataset, seed: int, train: int) -> Split:
    """Take `train` training examples; the pool is what may be held out.

    One permutation of all rows (stream "data", "order") is read from its front for the training set and from its back
    for the held-out pool: a larger `train` keeps the first training rows and the first held-out rows. The pool is the
    source's test part where it has one, else all rows not trained on. Raises StudyError where `train` is too many.
    """
    order = rng(seed, "data", "order").permutation(len(dataset.labels))
    tested = dataset.split[order] == TEST_PART
    trainable = order[~tested]
    if not 0 < train <= len(trainable):
        raise StudyError(f"data.train: {train}, but {dataset.name} has {len(trainable)} training examples")
    pool = order[tested] if tested.any() else trainable[train:]
    return Split(train=trainable[:train], heldout=pool[::-1])
