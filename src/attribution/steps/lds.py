"""Linear datamodelling score of one method, by query kind, damping chosen on held-out subsets.

Writes lds.json: "kinds" (scores, intervals, damping sweep) for the retrained models' loss as the target, and "targets",
the same for every other quantity that was measured; and lds.safetensors, spreads (evaluation.intervals) and
predictions for the loss, and spreads for the other targets under names with `.<target>` at their end.
"""

from attribution.core.store import load_tensors, save_json, save_tensors
from attribution.evaluation.evaluate import evaluate_cross_fitted, evaluate_targets
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, retrained_for

OUTPUTS = {"lds.json": "tolerance", "lds.safetensors": "tolerance"}
MAIN = "loss"


def run(job: Job) -> None:
    """Scores [L, Q, N] against the outcomes of all cohorts under common random numbers.

    The default damping is that of the base: the method itself, or the one that an ensemble averages.
    """
    scored = load_tensors(job.input("scores"))
    scores, dampings = scored["scores"], scored.get("dampings")
    settings = job.spec["evaluation"]
    targets = dict.fromkeys([MAIN, *job.spec["measurement"]["quantities"]])
    models = retrained_for(job.input("outcomes"), scores.shape[-1], targets)
    kinds, options = query_kinds(job.input("queries")), (job.spec["seed"], settings["coverage"])
    masks, outcomes = models[MAIN].masks, {target: found.outcomes for target, found in models.items()}
    if "folds" in scored:  # fitted to halves of the retrained models
        judged = evaluate_cross_fitted(scores, masks, outcomes, kinds, *options)
    else:
        layers = scores if dampings is not None else scores[0]
        default = job.spec["methods"][job.spec["job"]["base"]].get("damping")
        judged = evaluate_targets(layers, dampings, default, masks, outcomes, kinds, *options)
    record, arrays = judged.pop(MAIN)
    for target, (_, spread) in judged.items():
        arrays |= {f"{name}.{target}": value for name, value in spread.items() if name.startswith("spread_")}
    save_json(
        job.out / "lds.json", record | {"targets": {target: found["kinds"] for target, (found, _) in judged.items()}}
    )
    save_tensors(job.out / "lds.safetensors", arrays)


if __name__ == "__main__":
    main(run, OUTPUTS)
