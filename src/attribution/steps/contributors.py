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
from attribution.evaluation.intervals import correlations, interval, mean, paired
from attribution.evaluation.properties import GLOBAL, LOCAL
from attribution.provenance.job import Job, main
from attribution.steps.retrained import layer_of, query_kinds

OUTPUTS = {"contributors.json": "tolerance", "contributors.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The game is that of fine-tuning: its whole is all contributors, its empty coalition a model without training."""
    spec, choice = job.spec, job.spec["contributors"]
    count, coverage = choice["count"], spec["evaluation"]["coverage"]
    coalitions, tuned, owner = _stream(job, "sft")
    judging, judged, _ = _stream(job, "half")
    untrained = {name: values[1:] for name, values in load_tensors(job.input("sparse")).items()}
    summed, examples = _summed(job, owner, count), np.bincount(owner, minlength=count)
    of = contributors.numbers(count, len(judging))
    pairs = len(coalitions[of["drawn"]]) // 2

    def played(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[of[part]] for part in ("without", "alone", "drawn")])

    weights = contributors.weights(count, np.ones(pairs))
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
        of_judging = worth[of["judging"]]
        predictions = {method: judging @ each for method, each in predictors.items()} | {"finetuned": of_judging}
        record["lds"][name], record["lds_difference"][name] = _lds(predictions, truth, coverage)
        record["agreement"][name] = _agreement(of_judging, truth, coverage)
        if name in GLOBAL:
            half = shapley.half_width(*game, weights, *ends, coverage)[:, 0]
            between = np.stack([values[:, 0] - half, values[:, 0] + half])
            record["shapley"][name] = [
                {"value": value, "interval": ends_of, "n": {"pairs": pairs}}
                for value, ends_of in zip(values[:, 0].tolist(), between.T.tolist(), strict=True)
            ]
            arrays |= {f"shapley.{name}": values[:, 0], f"interval.{name}": between}
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
    predictions: dict[str, np.ndarray], truth: np.ndarray, coverage: float
) -> tuple[dict[str, dict[str, Any] | None], dict[str, dict[str, Any]]]:
    """By predictor {value, interval, n} of the mean over properties of the rank correlation over coalitions, [K, P]
    each, and by "shapley_<other>" the same of what that of the Shapley values is above the other's.

    None, and no difference, where one is the same for all coalitions, as the prediction by equally many examples is.
    """
    spreads = {
        name: correlations(prediction, truth)
        for name, prediction in predictions.items()
        if not _constant(prediction) and not _constant(truth)
    }
    found = dict.fromkeys(predictions) | {name: _entry(spread, truth, coverage) for name, spread in spreads.items()}
    ours = spreads.pop("shapley", None)
    if ours is None:
        return found, {}
    return found, {
        f"shapley_{name}": {**paired(ours, theirs, coverage), "n": _n(truth)} for name, theirs in spreads.items()
    }


def _agreement(tuned: np.ndarray, truth: np.ndarray, coverage: float) -> dict[str, Any] | None:
    """{value, interval, n} of the linear correlation over coalitions, mean over properties, or None; [K, P] each."""
    if _constant(tuned) or _constant(truth):
        return None
    return _entry(shapley.pearson(tuned, truth), truth, coverage)


def _entry(spread: np.ndarray, truth: np.ndarray, coverage: float) -> dict[str, Any]:
    return {"value": mean(spread), "interval": interval(spread, coverage), "n": _n(truth)}


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
