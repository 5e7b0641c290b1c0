"""Scores that sum over checkpoints, given the gradients themselves: loops over pairs, and plain SGD on quadratics."""

import numpy as np
import pytest

from attribution.methods.tracin import gas, retrac, tracin, tracincp

K, Q, N, E, P = 3, 4, 6, 5, 7
METHODS = (tracin, retrac, tracincp, gas)


class Gradients:
    """Of queries [K, Q, E, P], of training examples as replayed [K, N, P] and as averaged [K, N, P]."""

    def __init__(self):
        generator = np.random.default_rng(0)
        sizes = 10.0 ** generator.uniform(-2, 2, (K, Q, E, 1))
        self.query = generator.normal(size=(K, Q, E, P)) * sizes
        self.replayed = generator.normal(size=(K, N, P)) * 10.0 ** generator.uniform(-2, 2, (K, N, 1))
        self.averaged = generator.normal(size=(K, N, P)) * 10.0 ** generator.uniform(-2, 2, (K, N, 1))
        self.rate = np.array([0.5, 2.0, 0.01])

    def products(self):
        """What the step checkpoint_products makes of them."""
        mean = self.query.mean(2)
        directions = (self.query / np.linalg.norm(self.query, axis=3, keepdims=True)).mean(2)
        return {
            "replayed": mean @ self.replayed.swapaxes(1, 2),
            "directed": directions @ self.replayed.swapaxes(1, 2),
            "averaged": mean @ self.averaged.swapaxes(1, 2),
            "replayed_norm": np.linalg.norm(self.replayed, axis=2),
            "averaged_norm": np.linalg.norm(self.averaged, axis=2),
            "query_norm": np.linalg.norm(mean, axis=2),
            "learning_rate": self.rate,
        }


@pytest.fixture
def gradients():
    return Gradients()


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_scores_by_pairs(gradients):
    g = gradients
    found = {method: method(g.products(), {}) for method in METHODS}
    assert all(score.shape == (1, Q, N) and score.dtype == np.float64 for score in found.values())
    for q in range(Q):
        for n in range(N):
            sums = dict.fromkeys(METHODS, 0.0)
            for k in range(K):
                query = sum(g.query[k, q]) / E
                direction = sum(unit(row) for row in g.query[k, q]) / E
                sums[tracin] += g.rate[k] * query @ g.replayed[k, n]
                sums[retrac] += g.rate[k] * direction @ unit(g.replayed[k, n])
                sums[tracincp] += query @ g.averaged[k, n] / K
                sums[gas] += unit(query) @ unit(g.averaged[k, n]) / K
            for method, expected in sums.items():
                assert found[method][0, q, n] == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_what_a_training_gradients_size_changes(gradients):
    """ReTrac and GAS: nothing. TracIn grows with it, and so one checkpoint may decide."""
    before = {method: method(gradients.products(), {}) for method in METHODS}
    gradients.replayed[:, 2] *= 1000
    gradients.averaged[:, 2] *= 1000
    after = {method: method(gradients.products(), {}) for method in METHODS}
    for method in (retrac, gas):
        np.testing.assert_allclose(after[method], before[method], rtol=1e-10)
    for method in (tracin, tracincp):
        np.testing.assert_allclose(after[method][..., 2], 1000 * before[method][..., 2], rtol=1e-10)
        np.testing.assert_allclose(np.delete(after[method], 2, 2), np.delete(before[method], 2, 2), rtol=1e-10)


def test_retrac_ignores_the_size_of_each_draw_of_a_query(gradients):
    """Per timestep: dividing a query's mean gradient by its length would let the long draw decide its direction."""
    before, cosines = retrac(gradients.products(), {}), gas(gradients.products(), {})
    gradients.query[:, 1, 3] *= 1000
    np.testing.assert_allclose(retrac(gradients.products(), {}), before, rtol=1e-10)
    assert np.abs(gas(gradients.products(), {}) - cosines)[0, 1].max() > 0.1


def test_bounds(gradients):
    assert np.abs(retrac(gradients.products(), {})).max() <= gradients.rate.sum()
    assert np.abs(gas(gradients.products(), {})).max() <= 1
    gradients.query = np.repeat(gradients.averaged[:, :Q, None], E, 2)  # each query is a training example
    gradients.replayed = gradients.averaged
    np.testing.assert_allclose(gas(gradients.products(), {})[0].diagonal(), 1, rtol=1e-12)
    np.testing.assert_allclose(retrac(gradients.products(), {})[0].diagonal(), gradients.rate.sum(), rtol=1e-12)


def test_rates_weight_the_checkpoints_of_tracin_and_retrac_alone(gradients):
    products = gradients.products()
    for method in (tracin, retrac):
        layers = [method(products | {"learning_rate": rate}, {}) for rate in np.eye(K)]
        np.testing.assert_allclose(
            sum(r * s for r, s in zip(gradients.rate, layers, strict=True)), method(products, {})
        )
    for method in (tracincp, gas):
        np.testing.assert_array_equal(method(products | {"learning_rate": np.ones(K)}, {}), method(products, {}))


def test_no_gradient_scores_zero(gradients):
    products = gradients.products()
    for name in ("replayed", "directed", "averaged"):
        products[name][:, :, 3] = 0
    for name in ("replayed_norm", "averaged_norm"):
        products[name][:, 3] = 0
    for name in ("directed", "averaged"):
        products[name][:, 1] = 0
    products["query_norm"][:, 1] = 0
    for method in METHODS:
        scores = method(products, {})
        assert np.isfinite(scores).all()
        assert not scores[0, :, 3].any()
        assert scores[0, 2].any()
    assert not gas(products, {})[0, 1].any()


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_tracin_of_sgd_is_the_change_of_the_loss(rate):
    """One example a step, a checkpoint each: losses |w - a|^2 / 2 have the Hessian I, so what SGD takes from a query's
    loss is the sum of all scores less rate^2 / 2 |g_n|^2 a step, exactly. Wrong signs double the first-order part.
    """
    generator = np.random.default_rng(0)
    queries, train, w = (generator.normal(size=shape) for shape in ((Q, P), (N, P), P))
    order = generator.integers(N, size=40)
    first, correction, products = w.copy(), 0.0, np.zeros((len(order), Q, N))
    for k, n in enumerate(order):
        gradient = w - train[n]
        products[k, :, n] = (w - queries) @ gradient
        correction += rate**2 / 2 * gradient @ gradient
        w = w - rate * gradient
    scores = tracin({"replayed": products, "learning_rate": np.full(len(order), rate)}, {})[0]
    taken = (((first - queries) ** 2).sum(1) - ((w - queries) ** 2).sum(1)) / 2
    np.testing.assert_allclose(scores.sum(1) - correction, taken, rtol=1e-10, atol=1e-12)
    assert np.abs(taken).max() > correction  # the first order is there to be checked
