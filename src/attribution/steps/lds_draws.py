"""Linear datamodelling score against the number of gradient draws, at default dampings.

Writes lds.json: a list of {method, draws, kinds: {kind: {lds, interval, ...}}}.
"""

from attribution.core.store import load_tensors, save_json
from attribution.evaluation.evaluate import evaluate
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, retrained

OUTPUTS = {"lds.json": "tolerance"}


def run(job: Job) -> None:
    """Each method's [D, Q, N] scores, one number of draws at a time, on the halves of all methods."""
    scored = load_tensors(job.input("scores"))
    draws = scored.pop("draws").tolist()
    examples = next(iter(scored.values())).shape[-1]
    models = retrained(job.input("outcomes"), examples, "loss")
    options = query_kinds(job.input("queries")), job.spec["seed"], job.spec["evaluation"]["coverage"]
    records = []
    for method, layers in scored.items():
        for count, scores in zip(draws, layers, strict=True):
            record, _ = evaluate(scores, None, None, models.masks, models.outcomes, *options)
            records.append({"method": method, "draws": count, "kinds": record["kinds"]})
    save_json(job.out / "lds.json", records)


if __name__ == "__main__":
    main(run, OUTPUTS)
