"""All measures of one encoded ensemble, and of ablations beside retraining, from their arrays.

Shape letters: N units, K null rows, G samples, W samples of quality, M members, R replicates, U units left out,
B resamples, C H W image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation import ablation, quality
from attribution.evaluation.quality import Features

Arrays = Mapping[str, np.ndarray]


def ablation_distances(retained: np.ndarray, land: Arrays) -> dict[str, np.ndarray]:
    """Distances of a landscape: exact, first (order) [N, G] and null [K, G]; radius and typical (null) [G].

    retained [N, M] bool; land: factual [G, C, H, W], counterfactual [N, ...], null [K, ...], products [G, M, M].
    """
    exact, null = (ablation.distances(land["factual"], land[name]) for name in ("counterfactual", "null"))
    first = ablation.first_order(land["products"], retained)
    return {"exact": exact, "first": first, "null": null, "radius": exact.max(0), "typical": null.mean(0)}


def distance_measures(moved: Arrays, land: Arrays, top: int, draws: np.ndarray, coverage: float) -> dict[str, Any]:
    """What the distances `moved` say, each {value, interval, n}: radius, null rows, and the first-order search."""
    exact, first, null = moved["exact"], moved["first"], moved["null"]
    z, p = ablation.against_null(exact, null)
    unattributable = ablation.unattributable(land["factual"], land["counterfactual"])
    return {
        "radius": ablation.geometric_mean(moved["radius"], draws, coverage),
        "distance": ablation.geometric_mean(exact.mean(0), draws, coverage),
        "null_distance": ablation.geometric_mean(moved["typical"], draws, coverage),
        "z_top": ablation.mean(z.max(0), draws, coverage),
        "share05": ablation.mean((p <= 0.05).mean(0), draws, coverage),
        "unattributable": ablation.mean(unattributable.astype(float), draws, coverage),
        "precision": ablation.mean(ablation.precision(exact, first, top), draws, coverage),
        "rank": ablation.mean(ablation.rank_correlations(exact, first), draws, coverage),
    }


def false_attribution_rates(
    unit: np.ndarray, land: Arrays, train: np.ndarray, extract: Features, draws: np.ndarray, coverage: float
) -> dict[str, Any]:
    """False attribution rate of the nearest training image in pixels and in features; unit [N images] of each image."""
    spaces = {"pixel": lambda images: images.reshape(*images.shape[:-3], -1), "feature": extract}
    found = {}
    for metric, of in spaces.items():
        among = of(train)
        nearest = [unit[quality.nearest(of(land[name]), among)] for name in ("factual", "counterfactual")]
        found[metric] = ablation.rate(*ablation.stays(*nearest), draws, coverage)
    return found


def mean_quality(sets: np.ndarray, held: np.ndarray, extract: Features) -> float:
    """Mean Fréchet distance of sets of samples [A, W, C, H, W'] to features held [n, F] of real images."""
    return float(np.mean([quality.frechet(extract(one), held) for one in sets]))


def beside_retraining(
    left: np.ndarray,
    samples: np.ndarray,
    moved: Arrays,
    nearness: np.ndarray,
    draws: np.ndarray,
    coverage: float,
) -> dict[str, Any]:
    """Rank correlation over units, for each sample, of what an ablation moves with what retraining without it moves.

    left [R, 1 + U]: units left out, -1 first for none; samples [R (1 + U), G, C, H, W] of the models in that order;
    moved: the ensemble's distances; nearness [N, G] of units to samples, the simplest guess. `replicates` compares the
    first two replicates of the retraining; `distance` and `ablated` are geometric means over samples of the mean
    distance. Raises StudyError where the models are not those of the design.
    """
    if (left[:, 0] != -1).any() or left.size != len(samples):
        raise StudyError("the models without a unit are not those of their design; delete both folders and run again")
    samples = samples.reshape(*left.shape, *samples.shape[1:])
    truth = np.stack([ablation.distances(one[0], one[1:]) for one in samples])  # [R, U, G]
    units = left[0, 1:]
    guesses = {"exact": moved["exact"][units], "first": moved["first"][units], "pixel": nearness[units]}
    found = {
        name: ablation.mean(ablation.rank_correlations(guess, truth.mean(0)), draws, coverage)
        for name, guess in guesses.items()
    }
    if len(truth) > 1:
        found["replicates"] = ablation.mean(ablation.rank_correlations(truth[0], truth[1]), draws, coverage)
    found["distance"] = ablation.geometric_mean(truth.mean((0, 1)), draws, coverage)
    found["ablated"] = ablation.geometric_mean(guesses["exact"].mean(0), draws, coverage)
    return {name: entry | {"n": entry["n"] | {"units": len(units)}} for name, entry in found.items()}


def nearness(unit: np.ndarray, train: np.ndarray, factual: np.ndarray) -> np.ndarray:
    """[N, G]: minus the distance of each sample [G, C, H, W] to the nearest image of each unit; unit [N images]."""
    flat, points = (images.reshape(len(images), -1) for images in (train, factual))
    near = -np.linalg.norm(flat[:, None] - points[None], axis=2)  # [images, G]
    found = np.full((unit.max() + 1, len(points)), -np.inf)
    np.maximum.at(found, unit, near)
    return found
