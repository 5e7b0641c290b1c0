"""Gradient similarity and TRAK, given the gradients themselves: explicit matrices in float64."""

import numpy as np
import pytest

from attribution.methods.gradient_similarity import gradient_cosine, gradient_dot
from attribution.methods.trak import score as trak

Q, N, P = 5, 12, 7
DAMPINGS = [1e-3, 0.1, 10.0]


def gram(phi, queries):
    return {
        "query_train": queries @ phi.T,
        "train_train": phi @ phi.T,
        "query_norm": (queries**2).sum(1),
        "train_norm": (phi**2).sum(1),
    }


@pytest.fixture(params=[P, 30])
def gradients(request):
    """Phi [N, P] and queries [Q, P], with fewer parameters than examples and with more."""
    generator = np.random.default_rng(0)
    scale = 10.0 ** generator.uniform(-2, 2, request.param)  # directions of very different curvature
    return generator.normal(size=(N, request.param)) * scale, generator.normal(size=(Q, request.param)) * scale


def primal(phi, queries, damping):
    """q^T (Phi^T Phi + lambda I)^-1 Phi^T with lambda = damping x mean |phi_n|^2, by a P x P solve."""
    unit = (phi**2).sum(1).mean()
    return queries @ np.linalg.solve(phi.T @ phi + damping * unit * np.eye(phi.shape[1]), phi.T)


def test_trak_is_the_solve_in_parameters(gradients):
    """1e-8 at a condition number of 1e5. A lambda in other units (trace, largest eigenvalue), no inverse, or the
    inverse of an undamped kernel is off by more than a tenth in some layer.
    """
    phi, queries = gradients
    found = trak(gram(phi, queries), {"dampings": DAMPINGS})
    assert found.shape == (3, Q, N)
    for layer, damping in zip(found, DAMPINGS, strict=True):
        expected = primal(phi, queries, damping)
        assert np.abs(layer - expected).max() < 1e-8 * np.abs(expected).max()
    plain = queries @ phi.T
    assert np.corrcoef(plain.ravel(), found[0].ravel())[0, 1] < 0.9


def test_trak_with_large_damping_is_the_inner_product(gradients):
    phi, queries = gradients
    unit = (phi**2).sum(1).mean()
    found = 1e10 * unit * trak(gram(phi, queries), {"dampings": [1e10]})[0]
    np.testing.assert_allclose(found, gradient_dot(gram(phi, queries), {})[0], rtol=1e-8, atol=1e-7 * unit)


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e4])
def test_dampings_are_relative(gradients, scale):
    """A loss times c is gradients times c: the kernel's unit grows with c^2, and TRAK's scores stay what they are.

    Without the unit, the score at c = 1e4 would be the undamped one.
    """
    phi, queries = gradients
    found = trak(gram(scale * phi, scale * queries), {"dampings": DAMPINGS})
    np.testing.assert_allclose(found, trak(gram(phi, queries), {"dampings": DAMPINGS}), rtol=1e-7, atol=1e-10)


def test_trak_of_orthonormal_gradients():
    """Phi Phi^T = I: q . phi_n / (1 + damping)."""
    phi, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(P, P)))
    queries = np.random.default_rng(1).normal(size=(Q, P))
    for layer, damping in zip(trak(gram(phi, queries), {"dampings": DAMPINGS}), DAMPINGS, strict=True):
        np.testing.assert_allclose(layer, queries @ phi.T / (1 + damping), rtol=1e-10, atol=1e-12)


def test_trak_does_not_count_a_repeated_example_twice():
    """k copies of an example share its score: each has 1 / (k + damping unit) of q . phi, so that sums stay bounded."""
    generator = np.random.default_rng(0)
    basis, _ = np.linalg.qr(generator.normal(size=(P, P)))
    phi = basis[[0, 0, 0, 1]]  # three copies and another, all of norm 1: the unit is 1
    query = basis[:1] + basis[1:2]
    found = trak(gram(phi, query), {"dampings": [0.5]})[0, 0]
    np.testing.assert_allclose(found, [1 / 3.5] * 3 + [1 / 1.5], rtol=1e-10)


def test_trak_of_a_singular_kernel_is_finite(gradients):
    phi, queries = gradients
    phi[3] = phi[4]
    phi[5] = 0
    found = trak(gram(phi, queries), {"dampings": [1e-6]})[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 3], found[:, 4], rtol=1e-6, atol=1e-9)
    assert np.abs(found[:, 5]).max() < 1e-9 * np.abs(found).max()


def test_dot_and_cosine_by_pairs(gradients):
    phi, queries = gradients
    dot, cosine = gradient_dot(gram(phi, queries), {}), gradient_cosine(gram(phi, queries), {})
    assert dot.shape == cosine.shape == (1, Q, N)
    for q in range(Q):
        for n in range(N):
            product = float(queries[q] @ phi[n])
            norms = np.linalg.norm(queries[q]) * np.linalg.norm(phi[n])
            assert dot[0, q, n] == pytest.approx(product, rel=1e-10, abs=1e-12)
            assert cosine[0, q, n] == pytest.approx(product / norms, rel=1e-10, abs=1e-14)


def test_cosine_is_bounded_and_ignores_size(gradients):
    phi, queries = gradients
    cosine = gradient_cosine(gram(phi, queries), {})
    assert np.abs(cosine).max() <= 1 + 1e-12
    sizes = np.linspace(0.1, 10, N)[:, None]
    np.testing.assert_allclose(gradient_cosine(gram(phi * sizes, queries * 3), {}), cosine, rtol=1e-10)
    own = gradient_cosine(gram(phi, phi), {})[0]
    np.testing.assert_allclose(own.diagonal(), 1, rtol=1e-12)


def test_cosine_of_a_zero_gradient_is_zero(gradients):
    phi, queries = gradients
    phi[2], queries[1] = 0, 0
    cosine = gradient_cosine(gram(phi, queries), {})[0]
    assert np.isfinite(cosine).all()
    assert not cosine[:, 2].any()
    assert not cosine[1].any()
    assert cosine[0, 0] != 0
