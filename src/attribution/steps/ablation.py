"""Judge the encoded ensembles of a study: radius by size, search, false attribution, null rows, quality, retraining.

Writes ablation.json: sizes: size -> measures, slope, null, quality_real and retrain, measures with an interval as
{value, interval, n}; and ablation.safetensors for the figures: radius, typical (of null rows) [S, G], and of the
study's size the distances exact, first [N, G] and null [K, G], and the search's precision [G], sample by sample.
"""

from typing import Any

import numpy as np

from attribution.core.store import load_json, load_tensors, save_json, save_tensors
from attribution.evaluation import ablation, quality
from attribution.evaluation.counterfactual_distances import (
    ablation_distances,
    beside_retraining,
    distance_measures,
    false_attribution_rates,
    mean_quality,
    nearness,
)
from attribution.provenance.job import Job, main

OUTPUTS = {"ablation.json": "statistical", "ablation.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Files come in the order of ablation.sizes; the study's own size is that of its training set."""
    spec, settings, choice = job.spec, job.spec["evaluation"], job.spec["ablation"]
    sizes, own, coverage, seed = choice["sizes"], spec["data"]["train"], settings["coverage"], spec["seed"]
    draws = ablation.resamples(seed, settings["bootstrap"], choice["samples"])
    pool = load_tensors(job.input("pool"))
    images = pool["images"]
    extract = quality.classifier_features(images[:own], pool["labels"][:own], seed)
    held = extract(images[max(sizes) :][-choice["quality"] :])
    record: dict[str, Any] = {"sizes": {}, "quality_real": quality.frechet(extract(images[: choice["quality"]]), held)}
    moved: dict[int, dict[str, np.ndarray]] = {}
    groups = zip(sizes, *(job.inputs[name] for name in ("designs", "landscapes", "costs")), strict=True)
    for size, *paths in groups:
        design, land, cost = load_tensors(paths[0]), load_tensors(paths[1]), load_json(paths[2])
        moved[size] = ablation_distances(design["retained"].astype(bool), land)
        record["sizes"][str(size)] = distance_measures(moved[size], land, choice["top"], draws, coverage) | {
            "far": false_attribution_rates(design["unit"], land, images[:size], extract, draws, coverage),
            "quality": quality.frechet(extract(land["crowd"]), held),
            "quality_member": mean_quality(land["alone"], held, extract),
            "passes": cost["passes"]["first"] / cost["passes"]["exact"],
            "seconds": cost["first"] / cost["exact"],
        }
        if size == choice["retrain"]["size"]:
            near = nearness(design["unit"], images[:size], land["factual"])
            left = load_tensors(job.input("left_out"))["left_out"].reshape(choice["retrain"]["replicates"], -1)
            again = load_tensors(job.input("retrained"))
            compared = beside_retraining(left, again["counterfactual"], moved[size], near, draws, coverage)
            record["retrain"] = compared | {"quality": mean_quality(again["alone"], held, extract)}
    radius, typical = (np.stack([moved[size][what] for size in sizes]) for what in ("radius", "typical"))
    laws = (("radius", radius), ("null", typical))
    record["slope"] = {name: ablation.power_law(values, sizes, draws, coverage) for name, values in laws}
    scores, nulls = (load_tensors(job.input(name))["scores"] for name in ("scores", "null_scores"))
    _, p = ablation.against_null(scores[0].T, nulls.T)
    record["null"] = {
        "distance": ablation.p_value_calibration(moved[own]["null"]),
        "loss": ablation.p_value_calibration(nulls.T),
        "loss_share05": float((p <= 0.05).mean()),
    }
    save_json(job.out / "ablation.json", record)
    kept = {name: moved[own][name] for name in ("exact", "first", "null")}
    kept["precision"] = ablation.precision(kept["exact"], kept["first"], choice["top"])
    save_tensors(job.out / "ablation.safetensors", kept | {"radius": radius, "typical": typical})


if __name__ == "__main__":
    main(run, OUTPUTS)
