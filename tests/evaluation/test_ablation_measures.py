"""Measures of counterfactual landscapes, by closed forms and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import StudyError
from attribution.evaluation import ablation

RNG = np.random.default_rng(0)
DRAWS = ablation.resamples(0, 200, 20)


def test_distances_are_euclidean_in_units_of_0_to_1():
    """Black to white in 4 of 9 pixels: sqrt(4). Without the factor 1/2 of the map from [-1, 1] it would be 4."""
    factual = -np.ones((1, 1, 3, 3))
    other = factual.copy()
    other[0, 0, 0, :] = other[0, 0, 1, 0] = 1
    assert ablation.distances(factual, np.stack([factual, other]))[:, 0].tolist() == [0, 2]


def jacobian(members=6, samples=3, size=12):
    moved = RNG.normal(size=(members, samples, size))
    return moved, np.einsum("mgd,kgd->gmk", moved, moved)


def test_gram_identity():
    """Distances from the M x M products are the norms of the moves themselves; for any number of members left."""
    moved, products = jacobian()
    retained = np.array([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1] * 6], dtype=bool)
    delta = retained / retained.sum(1, keepdims=True) - 1 / 6
    expected = np.linalg.norm(np.einsum("am,mgd->agd", delta, moved), axis=2) / 2
    found = ablation.first_order(products, retained)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert (found[3] == 0).all()


def test_complementary_codes_are_antipodal():
    """Without half the members and without the other half: opposite moves, equal distances."""
    _, products = jacobian()
    kept = np.array([[1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1]], dtype=bool)
    np.testing.assert_allclose(ablation.first_order(products, kept), ablation.first_order(products, ~kept), rtol=1e-10)


def test_a_move_common_to_all_members_is_no_distance():
    """delta sums to zero: what every weight does alike cancels."""
    moved, _ = jacobian()
    moved[:] = moved[:1]
    products = np.einsum("mgd,kgd->gmk", moved, moved)
    kept = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool)
    np.testing.assert_allclose(ablation.first_order(products, kept), 0, atol=1e-7)


def test_precision_by_hand():
    exact = np.array([[5.0, 1], [4, 2], [3, 3], [2, 4], [1, 5]])
    guess = np.array([[5.0, 5], [1, 4], [4, 3], [2, 2], [3, 1]])
    assert ablation.precision(exact, guess, 2).tolist() == [0.5, 0.0]
    assert ablation.precision(exact, exact, 3).tolist() == [1, 1]
    with pytest.raises(StudyError, match="top 6 of 5"):
        ablation.precision(exact, guess, 6)


def test_rank_correlations_by_scipy():
    from scipy.stats import spearmanr

    a, b = RNG.normal(size=(2, 15, 4)).round(1)
    expected = [spearmanr(a[:, g], b[:, g]).statistic for g in range(4)]
    np.testing.assert_allclose(ablation.rank_correlations(a, b), expected, rtol=1e-12)
    assert ablation.rank_correlations(np.ones((5, 1)), RNG.normal(size=(5, 1)))[0] == 0


def test_unattributable_samples():
    factual = np.array([0.5, -0.5]).reshape(2, 1, 1, 1)
    without = np.stack([factual * 0.1, factual * 3, factual * [[[[1.0]]], [[[-1.0]]]]])
    assert ablation.unattributable(factual, without).tolist() == [True, False]
    assert ablation.unattributable(factual, without[:2]).tolist() == [True, True]


def test_false_attribution_by_hand():
    """Sample 0 is attributed to unit 2 and stays without it; sample 1 to unit 0 and stays without 1 alone."""
    factual = np.array([2, 0])
    without = np.array([[2, 1], [2, 0], [2, 3], [0, 3]])  # rows: without unit 0, 1, 2, 3
    own, other = ablation.stays(factual, without)
    assert own.tolist() == [1, 0]
    assert other.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert ablation.false_attribution(own, other) == 1  # 0.5 / 0.5
    assert ablation.false_attribution(np.zeros(2), other) == 0
    assert ablation.false_attribution(np.ones(2), other) == 1  # cut
    assert np.isnan(ablation.false_attribution(own, np.zeros(2)))
    with pytest.raises(StudyError, match="two or more"):
        ablation.stays(factual, without[:1])


@given(st.integers(0, 1000))
def test_rates_lie_between_0_and_1(seed):
    random = np.random.default_rng(seed)
    factual, without = random.integers(3, size=20), random.integers(3, size=(3, 20))
    own, other = ablation.stays(factual, without)
    found = ablation.rate(own, other, DRAWS, 0.9)
    assert found is None or 0 <= found["interval"][0] <= found["interval"][1] <= 1


def test_p_values_of_exchangeable_rows_are_uniform():
    """Ranks among K: exactly level at every k / (K + 1). Counting only larger nulls, without the 1, would give 0s."""
    values = np.random.default_rng(1).normal(size=(60, 400))
    _, p = ablation.against_null(values[:1], values[1:])
    assert p.min() >= 1 / 60
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.045)
    z, p = ablation.against_null(np.array([[100.0]]), np.array([[0.0], [1], [2]]))
    assert z[0, 0] == pytest.approx(99)
    assert p[0, 0] == 1 / 4


def test_ties_count_against_a_unit():
    _, p = ablation.against_null(np.array([[2.0]]), np.array([[2.0], [2], [1]]))
    assert p[0, 0] == 3 / 4


def test_without_spread_nothing_stands_out():
    z, p = ablation.against_null(np.zeros((1, 1)), np.zeros((5, 1)))
    assert (z[0, 0], p[0, 0]) == (0, 1)
    with pytest.raises(StudyError, match="two or more"):
        ablation.against_null(np.zeros((1, 1)), np.zeros((1, 1)))


def test_calibration_tells_a_normal_null_from_a_skewed_one():
    normal = np.random.default_rng(0).normal(size=(200, 40))
    assert ablation.p_value_calibration(normal)["normal"] < 0.03
    assert ablation.p_value_calibration(normal)["rank"] < 0.04
    assert ablation.p_value_calibration(np.exp(2 * normal))["normal"] > 0.15
    assert ablation.p_value_calibration(np.exp(2 * normal))["rank"] < 0.04


def test_a_power_law_is_found():
    sizes = [64, 128, 256, 512]
    values = 5 * np.array(sizes)[:, None] ** -0.2 * np.exp(RNG.normal(size=20) * 0.3)
    found = ablation.power_law(values, sizes, DRAWS, 0.95)
    assert found["value"] == pytest.approx(-0.2, abs=1e-9)
    assert found["correlation"] == pytest.approx(-1)
    # samples that differ by a factor, the same at all sizes, do not widen the exponent's interval
    assert found["interval"] == pytest.approx([-0.2, -0.2], abs=1e-9)
    noisy = ablation.power_law(values * np.exp(RNG.normal(size=(4, 20)) * 0.3), sizes, DRAWS, 0.95)
    assert noisy["interval"][0] < -0.2 < noisy["interval"][1]
    with pytest.raises(StudyError, match="two sizes"):
        ablation.power_law(values[:1], [64], DRAWS, 0.95)


def test_geometric_means():
    found = ablation.geometric_mean(np.array([1.0, 100] * 10), DRAWS, 0.95)
    assert found["value"] == pytest.approx(10)
    assert 1 < found["interval"][0] < 10 < found["interval"][1] < 100
    assert ablation.geometric_mean(np.array([0.0, 1] * 10), DRAWS, 0.95)["value"] < 1e-15


def test_the_radius_grows_with_the_units_looked_at():
    moved = np.abs(RNG.normal(size=(50, 20)))
    radii = [moved[:n].max(0) for n in (1, 10, 50)]
    assert (radii[0] <= radii[1]).all()
    assert (radii[1] <= radii[2]).all()
