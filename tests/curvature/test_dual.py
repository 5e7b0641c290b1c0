"""TRAK and its normalisations from a gram, against explicit inverses in parameter space (float64)."""

import numpy as np
import pytest

from attribution.curvature import dual
from attribution.errors import StudyError
from attribution.methods.trak import score as trak

Q, N, P = 5, 12, 7
DAMPINGS = [1e-3, 0.1, 10.0]
SCORES = [dual.scores, dual.relative, dual.renormalised]


def gram(phi, queries):
    return {"query_train": queries @ phi.T, "train_train": phi @ phi.T, "train_norm": (phi**2).sum(1)}


@pytest.fixture(params=[P, 30])
def features(request):
    """Phi [N, P] and queries [Q, P], with fewer parameters than examples and with more."""
    generator = np.random.default_rng(0)
    scale = 10.0 ** generator.uniform(-1, 1, request.param)
    return generator.normal(size=(N, request.param)) * scale, generator.normal(size=(Q, request.param)) * scale


def ridge(phi, damping):
    return damping * (phi**2).sum(1).mean()


def primal(phi, queries, damping, score):
    """[Q, N] by a P x P inverse of the damped Phi^T Phi, and the norms of vectors themselves."""
    inverse = np.linalg.inv(phi.T @ phi + ridge(phi, damping) * np.eye(phi.shape[1]))
    tau = queries @ inverse @ phi.T
    if score is dual.relative:
        return tau / np.linalg.norm(inverse @ phi.T, axis=0)
    return tau / np.linalg.norm(phi, axis=1) if score is dual.renormalised else tau


@pytest.mark.parametrize("score", SCORES)
def test_primal_is_dual(features, score):
    """1e-8 at a condition number of 1e6 at most. Squared norms, or a power of the inverse too few: order 1."""
    phi, queries = features
    found = score(gram(phi, queries), DAMPINGS)
    assert found.shape == (3, Q, N)
    for layer, damping in zip(found, DAMPINGS, strict=True):
        expected = primal(phi, queries, damping, score)
        assert np.abs(layer - expected).max() < 1e-8 * np.abs(expected).max()
    others = [primal(phi, queries, DAMPINGS[0], other) for other in SCORES if other is not score]
    assert all(np.abs(found[0] - other).max() > 0.1 * np.abs(found[0]).max() for other in others)


def test_single_precision_primal_is_noise():
    """What float64 and the dual are for: rank 12 of 200, a damping of 1e-9, and an inverse in float32."""
    generator = np.random.default_rng(0)
    phi, queries = generator.normal(size=(N, 200)), generator.normal(size=(Q, 200))
    expected = queries @ np.linalg.pinv(phi)  # the limit: K^-1 with a damping of 1e-9
    matrix = (phi.T @ phi + ridge(phi, 1e-9) * np.eye(200)).astype(np.float32)
    primal = (queries.astype(np.float32) @ np.linalg.inv(matrix)) @ phi.T.astype(np.float32)
    error = [
        np.abs(found - expected).max() / np.abs(expected).max()
        for found in (primal, dual.scores(gram(phi, queries), [1e-9])[0])
    ]
    assert error[0] > 1
    assert error[1] < 1e-7


def test_left_out_is_the_kernel_of_the_others(features):
    """An explicit inverse for every example, of the matrix without it. With it, scores are 1 - h_n times as large."""
    phi, queries = features
    for found, damping in zip(dual.left_out(gram(phi, queries), DAMPINGS), DAMPINGS, strict=True):
        eye, whole = ridge(phi, damping) * np.eye(phi.shape[1]), phi.T @ phi
        expected = np.stack([queries @ np.linalg.solve(whole - np.outer(x, x) + eye, x) for x in phi], 1)
        assert np.abs(found - expected).max() < 1e-8 * np.abs(expected).max()
        h = np.diag(phi @ np.linalg.solve(whole + eye, phi.T))
        np.testing.assert_allclose(found * (1 - h), primal(phi, queries, damping, dual.scores), rtol=1e-6, atol=1e-9)
    assert h.max() > 0.05


def test_left_out_where_the_leverage_is_close_to_one():
    """Orthonormal features: q . g / lambda, as others say nothing of g. A difference 1 - h_n of 1e-13 has no digits."""
    phi = np.linalg.qr(np.random.default_rng(0).normal(size=(20, N)))[0].T
    queries = np.random.default_rng(1).normal(size=(Q, 20))
    (found,) = dual.left_out(gram(phi, queries), [1e-13])
    np.testing.assert_allclose(found * 1e-13, queries @ phi.T, rtol=1e-9, atol=1e-12)


def test_left_out_of_nothing(features):
    phi, queries = features
    phi[4] = 0
    for found in dual.left_out(gram(phi, queries), DAMPINGS):
        assert np.isfinite(found).all()
        assert not found[:, 4].any()
    assert not any(layer.any() for layer in dual.left_out(gram(0 * phi, queries), DAMPINGS))


def test_scores_are_trak(features):
    held = gram(*features)
    np.testing.assert_allclose(dual.scores(held, DAMPINGS), trak(held, {"dampings": DAMPINGS}), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 250.0])
def test_scale_of_the_features(features, scale):
    """Features x c, as by a sum over draws: lambda is c^2 times itself, and scores stay; normalised ones are / |phi|.

    In parameters: c q (c^2 F + c^2 lambda)^-1 c phi = tau; |(c^2 ..)^-1 c phi| = |..| / c; |c phi| = c |phi|.
    """
    phi, queries = features
    held, scaled = gram(phi, queries), gram(scale * phi, scale * queries)
    for score, power in zip(SCORES, (0, 1, -1), strict=True):
        before, after = score(held, DAMPINGS), score(scaled, DAMPINGS)
        np.testing.assert_allclose(after, before * scale**power, rtol=1e-9, atol=1e-11 * np.abs(after).max())


def test_orthonormal_features():
    """score = q . g / (1 + lambda), by hand: all three norms are 1 or 1 / (1 + lambda)."""
    phi = np.linalg.qr(np.random.default_rng(0).normal(size=(20, N)))[0].T
    queries = np.random.default_rng(1).normal(size=(Q, 20))
    held, dots = gram(phi, queries), queries @ phi.T
    np.testing.assert_allclose(dual.scores(held, [0.5])[0], dots / 1.5, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dual.relative(held, [0.5])[0], dots, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dual.renormalised(held, [0.5])[0], dots / 1.5, rtol=1e-12, atol=1e-14)


def test_large_damping_leaves_inner_products(features):
    phi, queries = features
    held, dots, norms = gram(phi, queries), queries @ phi.T, np.linalg.norm(phi, axis=1)
    large = ridge(phi, 1e10)
    for found, expected in [
        (large * dual.scores(held, [1e10])[0], dots),
        (dual.relative(held, [1e10])[0], dots / norms),
        (large * dual.renormalised(held, [1e10])[0], dots / norms),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(dots).max())


def test_longer_features_with_the_kernel_held_fixed(features):
    """One feature x 5: normalised scores do not see it, TRAK's is x 5. A kernel that sees it breaks the invariance.

    The kernel is fixed where the damping drowns it; at a small one it is recomputed.
    """
    phi, queries = features
    longer = phi.copy()
    longer[3] *= 5
    held, other = gram(phi, queries), gram(longer, queries)
    units = ridge(phi, 1e10), ridge(longer, 1e10)
    for score, factor, power in zip(SCORES, (5, 1, 1), (1, 0, 1), strict=True):  # of lambda, in each score's limit
        before, after = (score(g, [1e10])[0, :, 3] * unit**power for g, unit in zip((held, other), units, strict=True))
        np.testing.assert_allclose(after, factor * before, rtol=1e-7)
    for score in SCORES[1:]:
        before, after = (score(g, [1e-3])[0, :, 3] for g in (held, other))
        assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()


def test_relative_influence_is_the_ratio_of_two_changes(features):
    """tau / |step| of the damped Newton step of every example: at most |phi_q| by Cauchy-Schwarz, met by a query
    that is that step.
    """
    phi, _ = features
    steps = np.linalg.solve(phi.T @ phi + ridge(phi, 0.1) * np.eye(phi.shape[1]), phi.T).T  # [N, P]
    found = dual.relative(gram(phi, steps), [0.1])[0]
    norms = np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose(np.diag(found), norms, rtol=1e-9)
    assert (np.abs(found) <= norms[:, None] * (1 + 1e-9)).all()


@pytest.mark.parametrize("score", SCORES)
def test_examples_without_gradient_score_zero(features, score):
    phi, queries = features
    phi[4] = 0
    found = score(gram(phi, queries), DAMPINGS)
    assert np.isfinite(found).all()
    assert not found[:, :, 4].any()
    for layer, damping in zip(found, DAMPINGS, strict=True):
        rest = np.delete(np.arange(N), 4)
        with np.errstate(invalid="ignore"):
            expected = primal(phi, queries, damping, score)[:, rest]
        np.testing.assert_allclose(layer[:, rest], expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())
    assert not score(gram(0 * phi, queries), DAMPINGS).any()


@pytest.mark.parametrize("score", SCORES)
def test_refusals(features, score):
    held = gram(*features)
    for damping in (0.0, -0.1, float("nan")):
        with pytest.raises(StudyError, match="above 0"):
            score(held, [0.1, damping])
        with pytest.raises(StudyError, match="above 0"):
            list(dual.left_out(held, [0.1, damping]))
    with pytest.raises(StudyError, match="not finite"):
        score(held | {"query_train": held["query_train"] * np.inf}, [0.1])
