"""How images look to a small classifier: features for nearest neighbours, and the Fréchet distance of two sets.

Features are the hidden units of a one-layer network that scikit-learn fits to the labels of the study's own training
images: no weights are fetched, nothing depends on the generators that are judged, and what tells digits apart is what
moves them. The Fréchet distance (Heusel et al. 2017)
    |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))
in these features is FID-like: it ranks generators of one study, and its scale means nothing in another.

Shape letters: N images, F features, C H W image.
"""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neural_network import MLPClassifier

from attribution.core.rng import torch_seed
from attribution.errors import StudyError

HIDDEN = 32
PENALTY = 1.0  # on squared weights; the fit converges, so that it does not depend on when it stops
ITERATIONS = 2000

Features = Callable[[np.ndarray], np.ndarray]  # images [..., C, H, W] -> [..., F]


def classifier_features(images: np.ndarray, labels: np.ndarray, seed: int) -> Features:
    """Fit to images [N, C, H, W] and labels [N]; StudyError where there is only one class."""
    if len(np.unique(labels)) < 2:
        raise StudyError("features of a classifier need images of two classes or more")
    network = MLPClassifier(
        (HIDDEN,),
        activation="relu",
        solver="lbfgs",
        alpha=PENALTY,
        max_iter=ITERATIONS,
        random_state=torch_seed(seed, "features") % 2**32,
    )
    network.fit(_flat(images, 1), labels)
    weight, bias = network.coefs_[0], network.intercepts_[0]
    return lambda images: np.maximum(_flat(images, images.ndim - 3) @ weight + bias, 0.0)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the normal distributions of first [N, F] and second [N', F]; StudyError below 2 images."""
    if min(len(first), len(second)) < 2:
        raise StudyError("the Fréchet distance needs two images or more on each side; raise ablation.quality")
    means = first.mean(0) - second.mean(0)
    spreads = [np.cov(part, rowvar=False) for part in (first, second)]
    # tr (S_1 S_2)^(1/2): eigenvalues of a product of two semidefinite matrices are real and not negative
    root = np.sqrt(np.linalg.eigvals(spreads[0] @ spreads[1]).real.clip(min=0)).sum()
    return float(means @ means + np.trace(spreads[0] + spreads[1]) - 2 * root)


def nearest(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Position in `among` [N, F] of the nearest to each of `points` [..., F]."""
    found = pairwise_distances_argmin(points.reshape(-1, points.shape[-1]), among)
    return found.reshape(points.shape[:-1])


def _flat(images: np.ndarray, axes: int) -> np.ndarray:
    return images.reshape(*images.shape[:axes], -1).astype(np.float64)
