"""Judge the encoded ensembles of a study: radius by size, search, false attribution, null rows, quality, retraining.

Writes ablation.json: sizes: size -> measures, slope, search, null, retrain and quality, each measure {value, interval,
n}; and ablation.safetensors for the figure: radius [S, G], typical null distance [S, G], and of the study's size the
distances exact, first [N, G] and null [K, G].
"""

from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_json, load_tensors, save_json, save_tensors
from attribution.errors import StudyError
from attribution.evaluation import ablation, quality
from attribution.evaluation.quality import Features
from attribution.provenance.job import Job, main

OUTPUTS = {"ablation.json": "statistical", "ablation.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Files come in the order of ablation.sizes; the study's own size is that of its training set."""
    spec, settings = job.spec, job.spec["evaluation"]
    choice, main_size = spec["ablation"], spec["data"]["train"]
    sizes, coverage = choice["sizes"], settings["coverage"]
    draws = ablation.resamples(spec["seed"], settings["bootstrap"], choice["samples"])
    pool = load_tensors(job.input("pool"))
    images, rest = pool["images"], pool["images"][max(sizes) :]
    extract = quality.classifier_features(images[:main_size], pool["labels"][:main_size], spec["seed"])
    held = extract(rest[-choice["quality"] :])
    found: dict[int, dict[str, Any]] = {}
    distances: dict[int, dict[str, np.ndarray]] = {}
    for size, paths in zip(sizes, _files(job), strict=True):
        measures, distances[size] = _one_size(paths, images[:size], extract, choice["top"], draws, coverage)
        land = load_tensors(paths["landscape"])
        measures["quality"] = quality.frechet(extract(land["crowd"]), held)
        measures["quality_member"] = float(np.mean([quality.frechet(extract(one), held) for one in land["alone"]]))
        found[size] = measures
    radius, typical = (np.stack([distances[s][what] for s in sizes]) for what in ("radius", "typical"))
    scores, null_scores = (load_tensors(job.input(name))["scores"] for name in ("scores", "null_scores"))
    at = distances[main_size]
    record = {
        "sizes": {str(size): measures for size, measures in found.items()},
        "slope": {
            "radius": ablation.power_law(radius, sizes, draws, coverage),
            "null": ablation.power_law(typical, sizes, draws, coverage),
        },
        "null": {
            "distance": ablation.calibration(at["null"]),
            "loss": ablation.calibration(null_scores.T),
            "loss_share05": float((ablation.against_null(scores[0].T, null_scores.T)[1] <= 0.05).mean()),
        },
        "quality_real": quality.frechet(extract(images[: choice["quality"]]), held),
        "retrain": _retrained(job, images, distances, extract, held, draws),
    }
    save_json(job.out / "ablation.json", record)
    kept = {name: at[name] for name in ("exact", "first", "null")}
    save_tensors(job.out / "ablation.safetensors", kept | {"radius": radius, "typical": typical})


def _files(job: Job) -> list[dict[str, Path]]:
    names = ("designs", "landscapes", "costs")
    groups = zip(*(job.inputs[name] for name in names), strict=True)
    return [dict(zip(("design", "landscape", "cost"), group, strict=True)) for group in groups]


def _one_size(
    paths: dict[str, Path], train: np.ndarray, extract: Features, top: int, draws: np.ndarray, coverage: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measures of one ensemble, and its distances: exact, first [N, G], null [K, G], radius, typical [G]."""
    design, land, cost = load_tensors(paths["design"]), load_tensors(paths["landscape"]), load_json(paths["cost"])
    retained, unit = design["retained"].astype(bool), design["unit"]
    factual, without = land["factual"], land["counterfactual"]
    exact, null = (ablation.distances(factual, others) for others in (without, land["null"]))
    first = ablation.first_order(land["products"], retained)
    z, p = ablation.against_null(exact, null)
    spaces = {"pixel": lambda images: images.reshape(*images.shape[:-3], -1), "feature": extract}
    rates = {}
    for metric, of in spaces.items():
        nearest = [unit[quality.nearest(of(x), of(train))] for x in (factual, without)]
        rates[metric] = ablation.rate(*ablation.stays(*nearest), draws, coverage)
    measures = {
        "radius": ablation.geometric_mean(exact.max(0), draws, coverage),
        "distance": ablation.geometric_mean(exact.mean(0), draws, coverage),
        "null_distance": ablation.geometric_mean(null.mean(0), draws, coverage),
        "unattributable": ablation.mean(ablation.unattributable(factual, without).astype(float), draws, coverage),
        "far": rates,
        "precision": ablation.mean(ablation.precision(exact, first, top), draws, coverage),
        "rank": ablation.mean(ablation.rank_correlations(exact, first), draws, coverage),
        "z_top": ablation.mean(z.max(0), draws, coverage),
        "share05": ablation.mean((p <= 0.05).mean(0), draws, coverage),
        "passes": cost["passes"]["first"] / cost["passes"]["exact"],
        "seconds": cost["first"] / cost["exact"],
        "units": len(retained),
        "nulls": len(null),
    }
    return measures, {
        "exact": exact,
        "first": first,
        "null": null,
        "radius": exact.max(0),
        "typical": null.mean(0),
    }


def _retrained(
    job: Job,
    images: np.ndarray,
    distances: dict[int, dict[str, np.ndarray]],
    extract: Features,
    held: np.ndarray,
    draws: np.ndarray,
) -> dict[str, Any]:
    """Distances of ablations beside those of one model retrained without the unit, over the units left out."""
    choice, coverage = job.spec["ablation"]["retrain"], job.spec["evaluation"]["coverage"]
    left = load_tensors(job.input("left_out"))["left_out"].reshape(choice["replicates"], -1)  # [R, 1 + U]
    land = load_tensors(job.input("retrained"))
    samples = land["counterfactual"]
    if left[0, 0] != -1 or len(samples) != left.size:
        raise StudyError(f"{job.input('retrained')}: not the models of {job.input('left_out')}; run both again")
    samples = samples.reshape(*left.shape, *samples.shape[1:])  # [R, 1 + U, G, C, H, W]
    moved = np.stack([ablation.distances(one[0], one[1:]) for one in samples])  # [R, U, G]
    units, size = left[0, 1:], choice["size"]
    at = job.spec["ablation"]["sizes"].index(size)
    paths = _files(job)[at]
    unit = load_tensors(paths["design"])["unit"]
    flat = images[:size].reshape(size, -1)
    pixels = np.stack(
        [
            -np.sqrt(np.square(sample.reshape(-1) - flat).sum(1))
            for sample in load_tensors(paths["landscape"])["factual"]
        ],
        1,
    )  # [images, G], larger = nearer
    nearest = np.stack([pixels[unit == u].max(0) for u in units])  # [U, G]
    guesses = {"exact": distances[size]["exact"][units], "first": distances[size]["first"][units], "pixel": nearest}
    found = {
        name: ablation.mean(ablation.rank_correlations(guess, moved.mean(0)), draws, coverage)
        for name, guess in guesses.items()
    }
    if len(moved) > 1:
        found["replicates"] = ablation.mean(ablation.rank_correlations(moved[0], moved[1]), draws, coverage)
    found["distance"] = ablation.geometric_mean(moved.mean((0, 1)), draws, coverage)
    found["ablated"] = ablation.geometric_mean(guesses["exact"].mean(0), draws, coverage)
    for entry in found.values():
        entry["n"] = entry["n"] | {"units": len(units)}
    return found | {"quality": float(np.mean([quality.frechet(extract(one), held) for one in land["alone"]]))}


if __name__ == "__main__":
    main(run, OUTPUTS)
