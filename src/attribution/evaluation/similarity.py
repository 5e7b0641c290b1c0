"""How much an image changed: pixels, structure, and features of a classifier that is trained here.

ssim follows Wang et al. 2004: a Gaussian window of sigma 1.5, cut at 3.5 sigma (11 x 11 pixels), k1 = 0.01, k2 = 0.03,
population moments, borders mirrored, and the mean over the whole map, as torchmetrics computes it. On images of 8 x 8
pixels the window is larger than the image: what is compared is nearly the whole image, weighted to each pixel.
The features are the hidden units of a multilayer perceptron that tells the classes of the training images apart: a
learned similarity that needs no download, in place of CLIP, DINO or LPIPS.

Shape letters: R images, C H W image, D features.
"""

import warnings

import numpy as np
from scipy.ndimage import gaussian_filter

from attribution.errors import StudyError

SIGMA, TRUNCATE = 1.5, 3.5
K1, K2 = 0.01, 0.03
HIDDEN, ITERATIONS = 64, 300  # of the classifier


def pixel_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance [...] of images [..., C, H, W]."""
    return np.sqrt(np.square(np.asarray(a, np.float64) - b).sum((-3, -2, -1)))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity [...] of images [..., C, H, W] in [-1, 1], which are taken to [0, 1] first."""
    x, y = ((np.asarray(image, np.float64) + 1) / 2 for image in (a, b))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + K1**2) * (2 * covariance + K2**2)
    below = (mean_x**2 + mean_y**2 + K1**2) * (var_x + var_y + K2**2)
    return (above / below).mean((-3, -2, -1))


def feature_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine [...] of features [..., D]; 1 where both are 0."""
    scale = np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.ones(scale.shape), where=scale > 0)


class Features:
    """Hidden units of a classifier of images [R, C, H, W] with labels [R]; the same for the same seed and images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning  # seconds, which only jobs that judge images spend
        from sklearn.neural_network import MLPClassifier

        if len(np.unique(labels)) < 2:
            raise StudyError("features: the training images are of one class, which teaches a classifier nothing")
        net = MLPClassifier((HIDDEN,), max_iter=ITERATIONS, random_state=seed % 2**32)
        flat = images.reshape(len(images), -1).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as many iterations as asked for are enough
            net.fit(flat, labels)
        self.weight, self.bias = net.coefs_[0], net.intercepts_[0]
        self.accuracy = float(net.score(flat, labels))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features [..., D] of images [..., C, H, W]."""
        flat = np.asarray(images, np.float64).reshape(*images.shape[:-3], -1)
        return np.maximum(flat @ self.weight + self.bias, 0.0)


def _window(image: np.ndarray) -> np.ndarray:
    return gaussian_filter(image, SIGMA, mode="mirror", truncate=TRUNCATE, axes=(-2, -1))
