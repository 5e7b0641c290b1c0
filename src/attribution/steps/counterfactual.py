"""Counterfactual retraining as judge: leave-K-out and the joint protocol, for every method, against random removals.

Writes counterfactual.json: "leave_k_out" and "joint": method -> measure -> record of evaluation.counterfactual, of the
targets; joint also "collateral", the same of generated images that nobody asked about, and "removed", how many examples
left. "noise_floor": measure -> {value, interval, n}: nothing removed, another seed. "features": the training accuracy
of the classifier whose hidden units are the feature measure.
"leave_k_out_difference" and "joint_difference": "<a>_<b>" -> measure -> {value, interval, n}, paired; joint ones of
what each method changes beyond its own control, as their removals differ in size.
Files come in the order of paths.counterfactuals: nothing removed, then leave and joint of each method.
"""

from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_tensors, save_json
from attribution.evaluation import counterfactual as judged
from attribution.evaluation.similarity import Features, feature_cosine, pixel_distance, ssim
from attribution.provenance.job import Job, main

OUTPUTS = {"counterfactual.json": "tolerance"}
CONTROL = "random"
REFERENCE = "ekfac"
MEASURES = ("pixel_l2", "ssim", "feature", "loss")

Cohort = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # design, what was regenerated


def run(job: Job) -> None:
    """Each model is compared with the one of its replicate from which nothing was removed: same seed, same noise."""
    choice, settings = job.spec["counterfactual"], job.spec["evaluation"]
    options = job.spec["seed"], settings["bootstrap"], settings["coverage"]
    files = list(zip(job.inputs["subsets"], job.inputs["regenerated"], strict=True))
    base, *cohorts = [_read(*pair) for pair in files]
    train = load_tensors(job.input("train"))
    features = Features(train["images"], train["labels"], job.spec["seed"])
    leave, joint = cohorts[0::2], cohorts[1::2]

    def changes(cohort: Cohort, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Measure -> [rows, Q] of the models `rows` of a cohort, against the whole model of their replicate."""
        made, own = cohort[1], cohort[0]["replicate"][rows]
        return _compare(_part(base[1], own), _part(made, rows), features)

    record: dict[str, Any] = {"leave_k_out": {}, "joint": {}, "features": features.accuracy}
    count = choice["leave"]["queries"]
    left = {}
    for method, cohort in zip(choice["methods"], leave, strict=True):
        found = changes(cohort, np.arange(len(cohort[0]["query"])))  # [R T, Q]
        own = {name: value.reshape(-1, count, value.shape[1]) for name, value in found.items()}
        left[method] = {name: value[:, np.arange(count), np.arange(count)] for name, value in own.items()}  # [R, T]
    for method, found in left.items():
        record["leave_k_out"][method] = {
            name: judged.judge(found[name], left[CONTROL][name], name, False, *options) for name in MEASURES
        }
    record["leave_k_out_difference"] = {
        f"{a}_{b}": {name: judged.mean(left[a][name] - left[b][name], False, *options) for name in MEASURES}
        for a, b in _pairs(choice["methods"], settings["compare"])
    }
    targets = choice["joint"]["queries"]
    over: dict[str, dict[str, np.ndarray]] = {}  # method -> measure -> [R, targets] less its own control
    every = targets + choice["joint"]["controls"]
    for method, cohort in zip(choice["methods"], joint, strict=True):
        matched = cohort[0]["control"]
        found, control = (changes(cohort, np.flatnonzero(matched == which)) for which in (False, True))
        over[method] = {name: (found[name] - control[name])[:, :targets] for name in MEASURES}
        record["joint"][method] = {
            part: {
                name: judged.judge(found[name][:, s], control[name][:, s], name, True, *options) for name in MEASURES
            }
            for part, s in (("targets", slice(targets)), ("collateral", slice(targets, every)))
            if s.start != s.stop
        } | {"removed": int(len(train["images"]) - cohort[0]["members"].shape[1])}
    record["joint_difference"] = {
        f"{a}_{b}": {name: judged.mean(over[a][name] - over[b][name], True, *options) for name in MEASURES}
        for a, b in _pairs(choice["methods"], settings["compare"])
    }
    first, second = (np.array(side) for side in zip(*judged.pairs(len(base[0]["query"])), strict=True))
    floor = _compare(_part(base[1], first), _part(base[1], second), features)
    floor["loss"] = np.abs(floor["loss"])
    record["noise_floor"] = {name: judged.mean(floor[name][:, :every], True, *options) for name in MEASURES}
    save_json(job.out / "counterfactual.json", record)


def _pairs(methods: list[str], asked: list[list[str]]) -> list[tuple[str, str]]:
    """Pairs of judged methods whose difference is reported: the reference and every other, and those asked for."""
    reference = [(REFERENCE, other) for other in methods if other != REFERENCE] if REFERENCE in methods else []
    return list(dict.fromkeys([*reference, *((a, b) for a, b in asked if a in methods and b in methods)]))


def _read(subsets: Path, regenerated: Path) -> Cohort:
    return load_tensors(subsets), load_tensors(regenerated)


def _part(made: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value[rows] for name, value in made.items()}


def _compare(before: dict[str, np.ndarray], after: dict[str, np.ndarray], features: Features) -> dict[str, np.ndarray]:
    """Measure -> [R, Q] of images [R, Q, C, H, W] and losses [R, Q], before and after."""
    return {
        "pixel_l2": pixel_distance(before["images"], after["images"]),
        "ssim": ssim(before["images"], after["images"]),
        "feature": feature_cosine(features(before["images"]), features(after["images"])),
        "loss": after["loss"] - before["loss"],
    }


if __name__ == "__main__":
    main(run, OUTPUTS)
