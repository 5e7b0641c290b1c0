"""Draw the coalitions of contributors of one cohort, and what its models are trained on.

Writes subsets.safetensors as the step `design` does: members [K, 8 N], number [K]; and coalition [K, n] uint8, which
contributors are in, and owner [N], whose each training example is.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.design import contributors
from attribution.provenance.job import Job, main

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """Models of a stream share first weights and randomness: they differ in their contributors alone."""
    cohort, choice, seed = job.spec["job"], job.spec["contributors"], job.spec["seed"]
    stream, count, judge = cohort["stream"], choice["count"], choice["judge"]
    owner = contributors.partition(load_tensors(job.input("data"))["labels"], count, seed)
    numbers = np.arange(cohort["first"], cohort["last"] + 1)
    found = contributors.judges(judge["coalitions"], count, judge["fraction"], seed)
    if stream == "half":
        found = found[numbers]
    else:
        found = np.stack([contributors.finetuned(number, count, found, seed) for number in numbers.tolist()])
    save_tensors(
        job.out / "subsets.safetensors",
        {
            "members": np.stack([contributors.rows(owner, coalition) for coalition in found]),
            "number": numbers,
            "coalition": found.astype(np.uint8),
            "owner": owner,
        },
        {
            "names": [f"{stream}/coalition {number}" for number in numbers],
            "streams": [["sft" if stream == "sft" else "crn", 0] for _ in numbers],
            "replicate": 0,
        },
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
