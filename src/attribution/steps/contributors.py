"""What each contributor is worth to the generator, and how far that predicts models trained without some of them.

Writes contributors.json: of every property the Shapley values with intervals, the LDS of each predictor against
retrained coalitions, how far that of the Shapley values is above each other's (paired, "shapley_<other>"), and the
agreement of fine-tuned with retrained models of these; and contributors.safetensors: by
property the values [n], their intervals [2, n], and fine-tuned and retrained [K].
"""

from typing import Any

import numpy as np

from attribution.core.store import load_json, load_tensors, save_json, save_tensors
from attribution.design import contributors
from attribution.errors import StudyError
from attribution.evaluation import shapley
from attribution.evaluation.intervals import bootstrap, difference, percentile, resampled_mean, resamples
from attribution.evaluation.lds import lds_per_query
from attribution.evaluation.properties import GLOBAL, LOCAL
from attribution.provenance.job import Job, main
from attribution.steps.retrained import layer_of, query_kinds

OUTPUTS = {"contributors.json": "tolerance", "contributors.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The game is that of fine-tuning: its whole is all contributors, its empty coalition a model without training."""
    spec, choice, settings = job.spec, job.spec["contributors"], job.spec["evaluation"]
    count, seed, coverage = choice["count"], spec["seed"], settings["coverage"]
    coalitions, tuned, owner = _stream(job, "sft")
    judging, judged, _ = _stream(job, "half")
    untrained = {name: values[1:] for name, values in load_tensors(job.input("sparse")).items()}
    summed, examples = _summed(job, owner, count), np.bincount(owner, minlength=count)
    of = contributors.numbers(count, len(judging))
    pairs = len(coalitions[of["drawn"]]) // 2

    def played(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[of[part]] for part in ("without", "alone", "drawn")])

    weights = contributors.weights(count, np.ones(pairs))
    draws = contributors.weights(count, resamples(seed, settings["bootstrap"], pairs, 1)[0])
    record: dict[str, Any] = {"examples": examples.tolist()}
    record |= {"shapley": {}, "lds": {}, "lds_difference": {}, "agreement": {}}
    arrays = {}
    for name in (*GLOBAL, LOCAL):
        worth, truth, empty = (_columns(found[name]) for found in (tuned, judged, untrained))
        game, ends, properties = (played(coalitions), played(worth)), (empty[0], worth[0]), worth.shape[1]
        values = shapley.values(*game, weights, *ends)  # [n, P]
        predictors = {
            "shapley": values,
            "shapley_plain": shapley.least_squares(*game, weights, *ends),
            "leave_one_out": worth[0] - worth[of["without"]],
            "alone": worth[of["alone"]] - empty,
            "examples": np.repeat(examples[:, None], properties, axis=1),
        }
        predictors |= {method: scores[name] for method, scores in summed.items()}
        chosen = resamples(seed, settings["bootstrap"], len(truth), properties)
        of_judging = worth[of["judging"]]
        predictions = {method: judging @ each for method, each in predictors.items()} | {"finetuned": of_judging}
        record["lds"][name], record["lds_difference"][name] = _lds(predictions, truth, chosen, coverage)
        record["agreement"][name] = _agreement(of_judging, truth, chosen, coverage)
        if name in GLOBAL:
            again = np.stack([shapley.values(*game, w, *ends) for w in draws])
            intervals = [percentile(again[:, i, 0], coverage) for i in range(count)]
            record["shapley"][name] = [
                {"value": value, "interval": interval, "n": {"pairs": pairs}}
                for value, interval in zip(values[:, 0].tolist(), intervals, strict=True)
            ]
            arrays |= {f"shapley.{name}": values[:, 0], f"interval.{name}": np.array(intervals).T}
            arrays |= {f"finetuned.{name}": of_judging[:, 0], f"retrained.{name}": truth[:, 0]}
    record["steps"] = choice["finetune"]["steps"] / spec["training"]["steps"]
    save_json(job.out / "contributors.json", record)
    save_tensors(job.out / "contributors.safetensors", arrays)


def _stream(job: Job, stream: str) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Coalitions [K, n] bool and properties [K, ...] of all cohorts of a stream, in their order; owners [N]."""
    designs = [load_tensors(path) for path in job.inputs[f"{stream}_designs"]]
    found = [load_tensors(path) for path in job.inputs[stream]]
    coalitions = np.concatenate([design["coalition"] for design in designs]).astype(bool)
    joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    for name, values in joined.items():
        if not np.isfinite(values).all():
            raise StudyError(f"the {name} of a model of the stream {stream} is not finite")
    return coalitions, joined, designs[0]["owner"]


def _summed(job: Job, owner: np.ndarray, count: int) -> dict[str, dict[str, np.ndarray]]:
    """Method -> property -> its scores summed over each contributor's examples, [n, P], at the damping the LDS chose.

    For the loss on held-out images these are the scores of held-out queries, averaged; for what samples are like, which
    no gradient is taken of, those of the generated queries, averaged (so Lu et al. 2025 compare their baselines).
    """
    kinds, found = query_kinds(job.input("queries")), {}
    whose = np.arange(count)[:, None] == owner  # [n, N]
    paths = zip(job.spec["contributors"]["methods"], job.inputs["scores"], job.inputs["lds"], strict=True)
    for method, scores, judged in paths:
        scored, entries = load_tensors(scores), load_json(judged)["kinds"]
        of = {
            kind: whose @ scored["scores"][layer_of(scored, entries[kind]), kinds == kind].astype(np.float64).T
            for kind in ("heldout", "generated")
        }  # [n, queries]
        mean = {kind: values.mean(1, keepdims=True) for kind, values in of.items()}
        found[method] = dict.fromkeys(GLOBAL, mean["generated"]) | {"loss": mean["heldout"], LOCAL: of["generated"]}
    return found


def _lds(
    predictions: dict[str, np.ndarray], truth: np.ndarray, draws: tuple[np.ndarray, np.ndarray], coverage: float
) -> tuple[dict[str, dict[str, Any] | None], dict[str, dict[str, Any]]]:
    """By predictor {value, interval, n} of the mean over properties of the rank correlation over coalitions, [K, P]
    each, and by "shapley_<other>" the same of what that of the Shapley values is above the other's.

    None, and no difference, where one is the same for all coalitions, as the prediction by equally many examples is.
    """
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(predictions)
    replicates = {}
    for name, prediction in predictions.items():
        if not _constant(prediction) and not _constant(truth):
            value = float(lds_per_query(prediction, truth).mean())
            interval, replicates[name] = bootstrap(prediction, truth, draws, coverage)
            found[name] = {"value": value, "interval": interval, "n": _n(truth)}
    ours = replicates.pop("shapley", None)
    if ours is None:
        return found, {}
    value = found["shapley"]["value"]
    differences = {
        f"shapley_{name}": {**difference(value, ours, found[name]["value"], theirs, coverage), "n": _n(truth)}
        for name, theirs in replicates.items()
    }
    return found, differences


def _agreement(
    tuned: np.ndarray, truth: np.ndarray, draws: tuple[np.ndarray, np.ndarray], coverage: float
) -> dict[str, Any] | None:
    """{value, interval, n} of the linear correlation over coalitions, mean over properties, or None; [K, P] each."""
    if _constant(tuned) or _constant(truth):
        return None
    value = shapley.pearson(tuned, truth, np.ones((1, len(truth)))).mean()
    replicates = resampled_mean(shapley.pearson(tuned, truth, draws[0]), draws[1])
    return {"value": float(value), "interval": percentile(replicates, coverage), "n": _n(truth)}


def _constant(values: np.ndarray) -> bool:
    """Whether a property is the same for all coalitions: no correlation is defined."""
    return bool((values == values[:1]).all(0).any())


def _n(values: np.ndarray) -> dict[str, int]:
    return {"coalitions": len(values), "properties": values.shape[1]}


def _columns(values: np.ndarray) -> np.ndarray:
    """[K] or [K, P] as [K, P]."""
    return values.reshape(len(values), -1)


if __name__ == "__main__":
    main(run, OUTPUTS)
