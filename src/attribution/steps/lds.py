"""Linear datamodelling score of one method, by query kind, damping chosen on held-out subsets.

Writes lds.json (scores, intervals, damping sweep) and lds.safetensors (bootstrap replicates and the predictions).
"""

from attribution.core.store import load_tensors, save_json, save_tensors
from attribution.evaluation.evaluate import evaluate
from attribution.provenance.job import Job, main
from attribution.steps.outcomes import query_kinds, retrained

OUTPUTS = {"lds.json": "tolerance", "lds.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Scores [L, Q, N] against the outcomes of all cohorts under common random numbers."""
    scored = load_tensors(job.input("scores"))
    scores, dampings = scored["scores"], scored.get("dampings")
    models = retrained(job.inputs["subsets"], job.inputs["losses"], scores.shape[-1])
    chosen = job.spec["methods"][job.spec["job"]["method"]]
    record, arrays = evaluate(
        scores if dampings is not None else scores[0],
        dampings,
        chosen.get("damping"),
        models.masks,
        models.outcomes,
        query_kinds(job.input("queries")),
        job.spec["seed"],
        job.spec["evaluation"]["bootstrap"],
        job.spec["evaluation"]["coverage"],
    )
    save_json(job.out / "lds.json", record)
    save_tensors(job.out / "lds.safetensors", arrays)


if __name__ == "__main__":
    main(run, OUTPUTS)
