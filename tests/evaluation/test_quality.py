"""Features of a small classifier, and the Fréchet distance by its closed forms."""

import numpy as np
import pytest

from attribution.data import digits
from attribution.errors import StudyError
from attribution.evaluation import quality

RNG = np.random.default_rng(0)


def test_frechet_of_normals():
    """Along an axis (m_1 - m_2)^2 + (s_1 - s_2)^2; without the root, equals would not be at 0."""
    x = RNG.normal(size=(4000, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T  # exactly standard
    assert quality.frechet(x, x) == pytest.approx(0, abs=1e-9)
    moved = x * [1, 2, 3] + [1, 0, 2]
    assert quality.frechet(x, moved) == pytest.approx(1 + 4 + 1 + 4, rel=1e-9)
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    assert quality.frechet(x @ turn, moved @ turn) == pytest.approx(10, rel=1e-9)
    with pytest.raises(StudyError, match="two images"):
        quality.frechet(x, x[:1])


def test_features_tell_digits_apart_and_noise_from_digits():
    whole = digits.load()
    extract = quality.classifier_features(whole.images[:500], whole.labels[:500], 0)
    train, other = (extract(whole.images[rows]) for rows in (slice(0, 500), slice(500, 1100)))
    assert train.shape == (500, quality.HIDDEN)
    same = whole.labels[500:1100] == whole.labels[:500][quality.nearest(other, train)]
    assert same.mean() > 0.85  # 0.1 by chance
    noise = extract(RNG.uniform(-1, 1, size=(300, 1, 8, 8)))
    assert quality.frechet(other, train) < 0.2 * quality.frechet(noise, train)
    again = quality.classifier_features(whole.images[:500], whole.labels[:500], 0)
    np.testing.assert_array_equal(again(whole.images[:500]), train)
    with pytest.raises(StudyError, match="two classes"):
        quality.classifier_features(whole.images[:3], np.zeros(3), 0)


def test_nearest_keeps_the_shape():
    among = np.array([[0.0, 0], [10, 0], [0, 10]])
    points = np.array([[[1.0, 0], [9, 1]], [[0, 7], [6, 0]]])
    assert quality.nearest(points, among).tolist() == [[0, 1], [2, 1]]
