"""For each chosen query, the training set without the examples that score highest for it.

Writes subsets.safetensors as the step `design` does: members [M, n], number [M], and query [M], the row of the query;
one model for each query and replicate (under common random numbers), or for each replicate where nothing is removed.
"""

import numpy as np

from attribution.core.store import load_json, load_tensors, save_tensors
from attribution.design.removal import chosen_queries, kept
from attribution.provenance.job import Job, main
from attribution.steps.outcomes import layer_of, query_kinds

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """A query is ranked at the damping that was chosen for its kind."""
    percent, removal = job.spec["job"]["percent"], job.spec["removal"]
    scored, record = load_tensors(job.input("scores")), load_json(job.input("lds"))["kinds"]
    kinds = query_kinds(job.input("queries"))
    examples = scored["scores"].shape[-1]
    if percent == 0:
        rows, members = [-1], [np.arange(examples)]
    else:
        rows = chosen_queries(kinds, removal["queries"]).tolist()
        members = [kept(scored["scores"][layer_of(scored, record[kinds[q]]), q], percent) for q in rows]
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
