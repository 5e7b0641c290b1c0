"""Measures of whole ensembles: what a unit with a plant in its counterfactual gets, and agreement with retraining."""

import numpy as np
import pytest

from attribution.errors import StudyError
from attribution.evaluation import ablation
from attribution.evaluation.counterfactual_distances import (
    ablation_distances,
    beside_retraining,
    distance_measures,
    false_attribution_rates,
    nearness,
)

RNG = np.random.default_rng(0)
N, K, G, M = 12, 40, 5, 6
DRAWS = ablation.resamples(0, 50, G)
IMAGE = (1, 2, 2)


def landscape():
    """Unit g moves sample g far; all else is noise, as much as a null row's."""
    factual = RNG.uniform(-0.5, 0.5, (G, *IMAGE))
    noise = 0.05 * RNG.normal(size=(N + K, G, *IMAGE))
    land = {"factual": factual, "counterfactual": factual + noise[:N], "null": factual + noise[N:]}
    for g in range(G):
        land["counterfactual"][g, g] = factual[g] + 1
    moved = RNG.normal(size=(M, G, 4))
    return land | {"products": np.einsum("mgd,kgd->gmk", moved, moved)}


def test_a_planted_unit_is_the_radius_and_stands_out():
    land = landscape()
    retained = np.array([[m != n % M for m in range(M)] for n in range(N)])
    moved = ablation_distances(retained, land)
    np.testing.assert_allclose(moved["radius"], 1)  # half of |(2, 2, 2, 2)| / 2
    assert moved["exact"].argmax(0).tolist() == list(range(G))
    found = distance_measures(moved, land, 3, DRAWS, 0.95)
    assert found["radius"]["value"] == pytest.approx(1)
    assert found["z_top"]["value"] > 5
    assert found["share05"]["value"] >= 1 / N
    assert found["null_distance"]["value"] < 0.1


def test_far_of_a_copy_of_the_training_set():
    """Samples are copies of images, and without that image become another: every attribution is true."""
    train = RNG.uniform(-1, 1, (N, *IMAGE))
    land = {"factual": train[:G], "counterfactual": np.stack([train[:G]] * N)}
    for g in range(G):
        land["counterfactual"][g, g] = train[G + g]
    found = false_attribution_rates(np.arange(N), land, train, lambda x: x.reshape(*x.shape[:-3], -1) * 2, DRAWS, 0.95)
    assert found["pixel"]["value"] == found["feature"]["value"] == 0
    land["counterfactual"][:] = train[:G]  # nothing ever changes: all are false
    found = false_attribution_rates(np.arange(N), land, train, lambda x: x.reshape(*x.shape[:-3], -1) * 2, DRAWS, 0.95)
    assert found["pixel"]["value"] == 1


def test_agreement_with_retraining():
    """Models without unit u move a sample as the ablation says, plus noise; nearness knows nothing."""
    left = np.array([[-1, 3, 0, 7, 9, 1, 2]] * 2)
    exact = RNG.uniform(0, 1, (N, G))
    factual = RNG.uniform(-0.1, 0.1, (2, G, *IMAGE))
    samples = np.stack(
        [
            factual[r] + (0 if u < 0 else exact[u][:, None, None, None]) + 0.002 * RNG.normal(size=(G, *IMAGE))
            for r in range(2)
            for u in left[r]
        ]
    )
    moved = {"exact": exact, "first": -exact}
    found = beside_retraining(left, samples, moved, RNG.normal(size=(N, G)), DRAWS, 0.95)
    assert found["exact"]["value"] > 0.9
    assert found["first"]["value"] < -0.9
    assert abs(found["pixel"]["value"]) < 0.7
    assert found["replicates"]["value"] > 0.9
    assert found["exact"]["n"] == {"samples": G, "units": 6}
    assert found["distance"]["value"] == pytest.approx(found["ablated"]["value"], rel=0.05)
    with pytest.raises(StudyError, match="not those of their design"):
        beside_retraining(left, samples[1:], moved, exact, DRAWS, 0.95)


def test_nearness_is_to_the_nearest_image_of_a_unit():
    train = np.array([0.0, 1, 5, 9])[:, None, None, None]
    found = nearness(np.array([0, 1, 1, 0]), train, np.array([4.0, 8])[:, None, None, None])
    assert found.tolist() == [[-4, -1], [-1, -3]]
