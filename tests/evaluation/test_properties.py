"""Properties of generators: more is better, and each is what its name says."""

import numpy as np
import pytest

from attribution.evaluation import properties


def test_entropy_is_in_bits():
    assert properties.entropy(np.array([0, 1, 2, 3]), 4) == 2
    assert properties.entropy(np.array([2, 2, 2]), 4) == 0
    assert properties.entropy(np.array([0, 0, 1, 2]), 3) == 1.5


def test_losses_are_counted_as_worth():
    losses = np.arange(12.0).reshape(2, 6)
    found = properties.of_losses(
        losses, np.array(["generated", "heldout", "heldout", "generated", "training", "training"])
    )
    np.testing.assert_array_equal(found["loss"], [-1.5, -7.5])
    np.testing.assert_array_equal(found["query"], -losses[:, [0, 3]])


def test_samples_like_the_held_out_images_are_best_and_varied_ones_diverse():
    rng = np.random.default_rng(0)
    held = np.concatenate([rng.normal(c, 0.1, (40, 2)) for c in (-1, 1)])
    samples = np.stack([held, held + 3, np.repeat(held[:1], 80, 0)]).reshape(3, 80, 1, 1, 2)
    means = np.array([[-1.0, -1], [1, 1]])
    found = properties.of_samples(samples, held, means, lambda images: images.reshape(-1, 2))
    assert found["quality"].argmax() == 0
    assert found["quality"][0] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found["diversity"], [1, 0, 0])
