"""Methods that compare images, and the random control, against loops over pairs."""

import numpy as np
import pytest

from attribution.methods.similarity import pixel_cosine, pixel_l2, random

Q, N = 4, 9
SHAPE = (1, 3, 3)
RNG = np.random.default_rng(0)
QUERIES = RNG.uniform(-1, 1, (Q, *SHAPE)).astype(np.float32)
TRAIN = RNG.uniform(-1, 1, (N, *SHAPE)).astype(np.float32)
METHODS = {"pixel_cosine": pixel_cosine, "pixel_l2": pixel_l2, "random": random}


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return a @ b / np.sqrt((a @ a) * (b @ b))


def minus_distance(a, b):
    return -np.sqrt(((a.astype(np.float64) - b) ** 2).sum())


@pytest.mark.parametrize(("method", "pair"), [(pixel_cosine, cosine), (pixel_l2, minus_distance)])
def test_every_pair(method, pair):
    expected = [[pair(q, x) for x in TRAIN] for q in QUERIES]
    found = method(QUERIES, TRAIN, {}, 0)
    assert found.shape == (Q, N)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", [pixel_cosine, pixel_l2])
def test_an_identical_image_ranks_first(method):
    for n in range(N):
        scores = method(TRAIN[n : n + 1], TRAIN, {}, 0)[0]
        assert scores.argmax() == n
        assert scores[n] == pytest.approx({pixel_cosine: 1.0, pixel_l2: 0.0}[method], abs=1e-12)


def test_bounds():
    assert np.abs(pixel_cosine(QUERIES, TRAIN, {}, 0)).max() <= 1 + 1e-12
    assert pixel_cosine(QUERIES, -QUERIES, {}, 0).diagonal() == pytest.approx(-1)
    assert pixel_l2(QUERIES, TRAIN, {}, 0).max() <= 0


def test_cosine_ignores_contrast_and_distance_does_not():
    np.testing.assert_allclose(pixel_cosine(QUERIES, TRAIN / 2, {}, 0), pixel_cosine(QUERIES, TRAIN, {}, 0))
    assert np.abs(pixel_l2(QUERIES, TRAIN / 2, {}, 0) - pixel_l2(QUERIES, TRAIN, {}, 0)).min() > 1e-3


@pytest.mark.parametrize("method", [pixel_cosine, pixel_l2])
def test_nothing_is_drawn(method):
    np.testing.assert_array_equal(method(QUERIES, TRAIN, {}, 0), method(QUERIES, TRAIN, {}, 1))


def test_random_rows_are_keyed_by_query():
    """A row is the same whatever stands after it, and no two rows, or seeds, are alike."""
    all_rows = random(QUERIES, TRAIN, {}, 0)
    assert all_rows.shape == (Q, N)
    np.testing.assert_array_equal(random(QUERIES[:2], TRAIN, {}, 0), all_rows[:2])
    np.testing.assert_array_equal(random(QUERIES[::-1], TRAIN[::-1], {}, 0), all_rows)  # of numbers, not of images
    assert len(np.unique(all_rows)) == Q * N
    assert not np.isclose(random(QUERIES, TRAIN, {}, 1), all_rows).any()


def test_random_scores_are_standard_normal_and_uncorrelated():
    scores = random(np.zeros((50, 1)), np.zeros((400, 1)), {}, 0)
    assert abs(scores.mean()) < 4 / np.sqrt(20_000)
    assert abs(scores.var() - 1) < 4 * np.sqrt(2 / 20_000)
    off = np.corrcoef(scores)[~np.eye(50, dtype=bool)]
    assert np.abs(off).max() < 0.25  # 2,450 correlations of standard deviation 0.05; a shared row scores 1
