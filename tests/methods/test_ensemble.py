"""The mean of scores over models."""

import numpy as np
import pytest

from attribution.methods.ensembles import ensemble


def members(count=5, shape=(2, 3, 4)):
    return list(np.random.default_rng(0).normal(size=(count, *shape)).astype("float32"))


def test_mean_entry_by_entry():
    held = members()
    found = ensemble(held)
    assert found.shape == (2, 3, 4)
    for index in np.ndindex(found.shape):
        assert found[index] == pytest.approx(sum(float(member[index]) for member in held) / 5, rel=1e-12)


def test_order_of_members_does_not_matter():
    held = members()
    np.testing.assert_allclose(ensemble(held[::-1]), ensemble(held), rtol=1e-12, atol=1e-15)


def test_one_member_is_itself():
    (held,) = members(1)
    np.testing.assert_array_equal(ensemble([held]), held)


def test_float64_sums():
    """A sum in float32 loses the small one."""
    held = [np.array([[[value]]], "float32") for value in (1e8, 1.0, -1e8, 1.0)]
    assert ensemble(held).item() == 0.5


def test_noise_of_the_members_falls_with_their_number():
    """The spread around what they share: a quarter with 16 members."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(1, 50, 40))
    noisy = truth + generator.normal(size=(16, 1, 50, 40))
    assert np.std(ensemble(list(noisy)) - truth) == pytest.approx(0.25, rel=0.1)
