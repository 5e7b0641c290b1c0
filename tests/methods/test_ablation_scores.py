"""Ablation scores: rises of the ensemble's loss, by the definition."""

import numpy as np

from attribution.methods.ablation import ablation


def residuals(queries=3, members=4, entries=50):
    return np.random.default_rng(0).normal(size=(queries, members, entries))


def test_scores_are_rises_of_the_loss():
    r = residuals()
    products = np.einsum("qmd,qkd->qmk", r, r) / r.shape[2]
    retained = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    found = ablation(products, retained, {})
    loss = lambda kept: (r[:, kept].mean(1) ** 2).mean(1)  # noqa: E731
    expected = np.stack([loss(kept) for kept in retained], 1) - loss(np.ones(4, dtype=bool))[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[:, 3], 0, atol=1e-14)  # nobody leaves


def test_whom_a_member_served_hurts_to_remove():
    """Members 0 and 1 saw unit 0 and alone predict query 0 well: its score is the largest. The other sign is last."""
    r = residuals(queries=1)
    r[0, :2] *= 0.01
    products = np.einsum("qmd,qkd->qmk", r, r) / r.shape[2]
    code = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool)
    assert np.argsort(-ablation(products, ~code, {})[0]).tolist() == [0, 1, 2]


def test_identical_members_make_no_difference():
    products = np.full((2, 6, 6), 0.3)
    np.testing.assert_allclose(ablation(products, np.eye(6, dtype=bool), {}), 0, atol=1e-15)
