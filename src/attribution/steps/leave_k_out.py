"""The training sets of a counterfactual cohort: without the top examples of each query, or of all of them together.

Writes subsets.safetensors as the step `design` does: members [M, n], number [M], and query [M], the row of that
which a model is for (-1: for all of them), control [M], whether a random removal of the method's size, replicate [M].
`leave0_random` holds the models from which nothing is removed, one more than there are replicates: the last is what
another seed alone changes.
"""

from typing import Any

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.design.counterfactual import control, top, union, without
from attribution.evaluation.selection import chosen_layers
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, retrained

OUTPUTS = {"subsets.safetensors": "bitwise"}
KIND = "generated"


def run(job: Job) -> None:
    """Scores are those at the damping that half of the retrained models choose for generated queries, as in `lds`."""
    scored, kinds = load_tensors(job.input("scores")), query_kinds(job.input("queries"))
    count, stream, seed = job.spec["job"]["count"], job.spec["job"]["stream"], job.spec["seed"]
    choice = {"leave": job.spec["counterfactual"]["leave"], "joint": job.spec["counterfactual"]["joint"]}
    examples = scored["scores"].shape[-1]
    generated = np.flatnonzero(kinds == KIND)
    if count == 0:
        replicates = max(choice["leave"]["replicates"], choice["joint"]["replicates"]) + 1
        models = [(np.arange(examples), -1, False, r) for r in range(replicates)]
    else:
        found = retrained(job.input("outcomes"), examples, "loss")
        dampings = scored.get("dampings", np.empty(0)).tolist()
        layer = chosen_layers(scored["scores"], dampings, found.masks, found.outcomes, kinds, seed)[KIND]
        scores, rows = scored["scores"][layer], generated[: choice[stream]["queries"]]
        models = _models(stream, scores, rows, count, choice[stream]["replicates"], seed, job.spec["job"]["ranking"])
    members, query, matched, replicate = zip(*models, strict=True)
    save_tensors(
        job.out / "subsets.safetensors",
        {
            "members": np.stack(members),
            "number": np.arange(len(members)),
            "query": np.array(query, dtype=np.int64),
            "control": np.array(matched),
            "replicate": np.array(replicate, dtype=np.int64),
        },
        {
            "names": [
                f"{job.spec['job']['cohort']}/{'control' if random else 'query' if q >= 0 else 'all'} {q} replicate {r}"
                for _, q, random, r in models
            ],
            "streams": [["crn", r] for r in replicate],
        },
    )


def _models(
    stream: str, scores: np.ndarray, rows: np.ndarray, count: int, replicates: int, seed: int, ranking: str
) -> list[tuple[Any, ...]]:
    """(members, query, whether a control, replicate) of each model; scores [Q, N]."""
    examples = scores.shape[1]
    if stream == "leave":
        kept = {q: without(examples, top(scores[q], count)) for q in rows.tolist()}
        return [(members, q, False, r) for r in range(replicates) for q, members in kept.items()]
    leaving = union(scores[rows], count)
    matched = [control(examples, len(leaving), seed, ranking, r) for r in range(replicates)]
    models = [(without(examples, leaving), -1, False, r) for r in range(replicates)]
    return models + [(without(examples, others), -1, True, r) for r, others in enumerate(matched)]


if __name__ == "__main__":
    main(run, OUTPUTS)
