"""Linear datamodelling score of one method, by query kind, damping chosen on held-out subsets.

Writes lds.json: "kinds" (scores, intervals, damping sweep) for the retrained models' loss as the target, and "targets",
the same for every other quantity that was measured; and lds.safetensors, bootstrap replicates and predictions for the
loss.
"""

from functools import partial

from attribution.core.store import load_tensors, save_json, save_tensors
from attribution.evaluation.evaluate import evaluate
from attribution.provenance.job import Job, main
from attribution.steps.outcomes import query_kinds, retrained

OUTPUTS = {"lds.json": "tolerance", "lds.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Scores [L, Q, N] against the outcomes of all cohorts under common random numbers."""
    scored = load_tensors(job.input("scores"))
    scores, dampings = scored["scores"], scored.get("dampings")
    chosen, settings = job.spec["methods"][job.spec["job"]["method"]], job.spec["evaluation"]
    models = partial(retrained, job.inputs["subsets"], job.inputs["losses"], scores.shape[-1])
    kinds = query_kinds(job.input("queries"))

    def judge(target: str) -> tuple[dict, dict]:
        judged = models(target)
        return evaluate(
            scores if dampings is not None else scores[0],
            dampings,
            chosen.get("damping"),
            judged.masks,
            judged.outcomes,
            kinds,
            job.spec["seed"],
            settings["bootstrap"],
            settings["coverage"],
        )

    record, arrays = judge("loss")
    others = [quantity for quantity in job.spec["measurement"]["quantities"] if quantity != "loss"]
    record["targets"] = {target: judge(target)[0]["kinds"] for target in others}
    save_json(job.out / "lds.json", record)
    save_tensors(job.out / "lds.safetensors", arrays)


if __name__ == "__main__":
    main(run, OUTPUTS)
