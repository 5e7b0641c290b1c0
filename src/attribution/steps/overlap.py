"""Whether the methods that counterfactual retraining judges name the same examples as each other, and for all queries.

Writes overlap.json: {"k": length of a list, "within": method -> kind -> {value, interval, n}, "between": method ->
other -> the same for generated queries}; a kind with a single query is left out.
"""

import numpy as np

from attribution.core.store import load_json, load_tensors, save_json
from attribution.evaluation.top_k_agreement import between, within
from attribution.provenance.job import Job, main
from attribution.steps.retrained import layer_of, query_kinds

OUTPUTS = {"overlap.json": "tolerance"}
KIND = "generated"


def run(job: Job) -> None:
    """--scores and --lds: of the judged methods, in order; queries are ranked at the damping chosen for their kind."""
    choice, settings = job.spec["counterfactual"], job.spec["evaluation"]
    options = choice["joint"]["count"], job.spec["seed"], settings["bootstrap"], settings["coverage"]
    kinds = query_kinds(job.input("queries"))
    rows_of = {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds.tolist())}
    rows_of = {kind: rows for kind, rows in rows_of.items() if len(rows) > 1}
    ranked: dict[str, dict[str, np.ndarray]] = {}
    for method, scores, lds in zip(choice["methods"], job.inputs["scores"], job.inputs["lds"], strict=True):
        scored, chosen = load_tensors(scores), load_json(lds)["kinds"]
        ranked[method] = {
            kind: scored["scores"][layer_of(scored, chosen[kind]), rows] for kind, rows in rows_of.items()
        }
    found = {
        "k": choice["joint"]["count"],
        "within": {
            method: {kind: within(scores, *options) for kind, scores in of.items()} for method, of in ranked.items()
        },
        "between": {
            a: {b: between(ranked[a][KIND], ranked[b][KIND], *options) for b in ranked if b > a and KIND in rows_of}
            for a in ranked
        },
    }
    save_json(job.out / "overlap.json", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
