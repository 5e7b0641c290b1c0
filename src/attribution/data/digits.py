"""The 1797 handwritten digits that scikit-learn ships: 8 x 8 grey images of the UCI optdigits test set.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from attribution.data.dataset import TRAIN_PART, Arrays

DATASETS = {
    "digits": {
        "images": 1797,
        "channels": 1,
        "size": [8, 8],
        "levels": 17,  # pixels count the set cells of a 4 x 4 block: 0..16
        "licence": "CC BY 4.0",
        "source": "UCI optdigits test set, as shipped by scikit-learn (load_digits)",
        "fetched": {},
        "loader": "load",
    }
}


def load(_source: Path | None = None) -> Arrays:
    """All 1797 digits, in scikit-learn's order: images [1797, 1, 8, 8], labels 0..9. The source has no test part."""
    raw = load_digits()
    images = (raw.images[:, None] / 8.0 - 1.0).astype(np.float32)  # 0..16 -> [-1, 1]; exact in float32
    return Arrays(images, raw.target.astype(np.int64), np.full(len(images), TRAIN_PART, np.uint8))
