"""The largest LDS that retraining noise leaves room for, and what common random numbers save.

Writes ceiling.json: {"ceiling": by query kind, "control": reliability of one replicate with common random numbers and
of one with independent seeds on the same subsets; null where the design has no control}.
"""

import numpy as np

from attribution.core.store import save_json
from attribution.evaluation.ceiling import evaluate_ceiling, evaluate_control
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, retrained

OUTPUTS = {"ceiling.json": "tolerance"}


def run(job: Job) -> None:
    """Replicates of the same subsets are compared with each other."""
    kinds, examples = query_kinds(job.input("queries")), job.spec["data"]["train"]
    crn = retrained(job.input("outcomes"), examples, "loss")
    seed, settings = job.spec["seed"], job.spec["evaluation"]
    control = None
    if job.inputs["own"]:
        own = retrained(job.input("own"), examples, "loss")
        same = np.searchsorted(crn.numbers, own.numbers)  # the control retrains the first subsets
        options = seed, settings["bootstrap"], settings["coverage"]
        control = evaluate_control(crn.outcomes[:, same], own.outcomes, kinds, *options)
    ceiling = evaluate_ceiling(crn.outcomes, kinds, seed, settings["coverage"])
    save_json(job.out / "ceiling.json", {"ceiling": ceiling, "control": control})


if __name__ == "__main__":
    main(run, OUTPUTS)
