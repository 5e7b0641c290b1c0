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
    settings = job.spec["seed"], job.spec["evaluation"]["bootstrap"], job.spec["evaluation"]["coverage"]
    control = None
    if job.inputs["own"]:
        own = retrained(job.input("own"), examples, "loss")
        same = np.searchsorted(crn.numbers, own.numbers)  # the control retrains the first subsets
        control = evaluate_control(crn.outcomes[:, same], own.outcomes, kinds, *settings)
    save_json(
        job.out / "ceiling.json", {"ceiling": evaluate_ceiling(crn.outcomes, kinds, *settings), "control": control}
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
