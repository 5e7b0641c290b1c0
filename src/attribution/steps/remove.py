"""For each chosen query, the training set without the examples that score highest for it.

Writes subsets.safetensors as the step `design` does: members [M, n], number [M], and query [M], the row of the query;
one model for each query and replicate (under common random numbers), or for each replicate where nothing is removed.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.design.removal import chosen_queries, kept
from attribution.evaluation.selection import chosen_layers
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, retrained

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """A query is ranked at the damping that the models of half the subsets choose for its kind, as the step lds does.

    Only what makes that choice is read: no interval, so that its settings train nothing again.
    """
    percent, removal = job.spec["job"]["percent"], job.spec["removal"]
    scored, kinds = load_tensors(job.input("scores")), query_kinds(job.input("queries"))
    scores, dampings = scored["scores"], scored.get("dampings", np.empty(0)).tolist()
    examples = scores.shape[-1]
    if percent == 0:
        rows, members = [-1], [np.arange(examples)]
    else:
        models = retrained(job.input("outcomes"), examples, "loss")
        layers = chosen_layers(scores, dampings, models.masks, models.outcomes, kinds, job.spec["seed"])
        rows = chosen_queries(kinds, removal["queries"]).tolist()
        members = [kept(scores[layers[kinds[q]], q], percent) for q in rows]
    replicates = range(removal["replicates"])
    save_tensors(
        job.out / "subsets.safetensors",
        {
            "members": np.concatenate([members for _ in replicates]),
            "number": np.arange(len(rows) * len(replicates)),
            "query": np.tile(np.array(rows, dtype=np.int64), len(replicates)),
        },
        {
            "names": [f"{job.spec['job']['cohort']}/query {q} replicate {r}" for r in replicates for q in rows],
            "streams": [["crn", r] for r in replicates for _ in rows],
        },
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
