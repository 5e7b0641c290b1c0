"""Which methods put the same training examples on top for every query, and how far their scores follow the gradients'
length.

Writes prevalence.json: {"k": length of a list, "methods": method -> kind -> record of evaluation.hubness,
"differences": "<a>_<b>" -> kind -> {overlap, norm_correlation: {value, interval}, n}, for the pairs of
evaluation.compare}. A kind with a single query is left out: there is no other to share examples with.
"""

from typing import Any

import numpy as np

from attribution.core.store import load_tensors, save_json
from attribution.evaluation.hubness import BOOTSTRAPPED, hubness
from attribution.evaluation.intervals import difference
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, ranked

OUTPUTS = {"prevalence.json": "tolerance"}
TOP = 10


def run(job: Job) -> None:
    """--scores and --lds: of all methods, by name; a query is ranked at the damping that was chosen for its kind."""
    settings = job.spec["evaluation"]
    norms = np.sqrt(load_tensors(job.input("gram"))["train_norm"])
    kinds = query_kinds(job.input("queries"))
    found: dict[str, Any] = {}
    spreads: dict[str, Any] = {}
    for method, scores, lds in zip(sorted(job.spec["methods"]), job.inputs["scores"], job.inputs["lds"], strict=True):
        found[method], spreads[method] = {}, {}
        options = norms, TOP, job.spec["seed"], settings["bootstrap"], settings["coverage"]
        for kind, of_queries in ranked(scores, lds, kinds).items():
            found[method][kind], spreads[method][kind] = hubness(of_queries, *options)
    compared = {f"{a}_{b}": _difference(found, spreads, a, b, settings["coverage"]) for a, b in settings["compare"]}
    save_json(job.out / "prevalence.json", {"k": TOP, "methods": found, "differences": compared})


def _difference(found: dict[str, Any], spreads: dict[str, Any], a: str, b: str, coverage: float) -> dict[str, Any]:
    """Kind -> {overlap, norm_correlation: {value, interval} of a less b, n}, on the same resamples."""
    return {
        kind: {
            name: difference(
                record[name]["value"],
                spreads[a][kind][name],
                found[b][kind][name]["value"],
                spreads[b][kind][name],
                coverage,
            )
            for name in BOOTSTRAPPED
        }
        | {"n": record["n"]}
        for kind, record in found[a].items()
    }


if __name__ == "__main__":
    main(run, OUTPUTS)
