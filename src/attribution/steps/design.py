"""Draw the subsets of one cohort.

Writes subsets.safetensors: members [M, n] int64, ascending rows of the training set that model m is trained on, and
number [M] int64, the subsets' numbers; meta holds the replicate, the models' names and the named streams of their
training randomness.
"""

import numpy as np

from attribution.core.store import save_tensors
from attribution.design.subsets import subset
from attribution.provenance.job import Job, main

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """`full` and the seeds hold every example, `full` under the shared stream of replicate 0; the others are random."""
    cohort, examples = job.spec["job"], job.spec["data"]["train"]
    stream, replicate = cohort["stream"], cohort["replicate"]
    if stream == "full":
        numbers, members, names, streams = [0], np.arange(examples)[None], ["full"], [["crn", 0]]
    elif stream == "seeds":
        numbers = range(cohort["first"], cohort["last"] + 1)
        members = np.tile(np.arange(examples), (len(numbers), 1))
        names, streams = [f"seed{number}" for number in numbers], [["seed", number] for number in numbers]
    else:
        numbers = range(cohort["first"], cohort["last"] + 1)
        fraction = job.spec["design"]["fraction"]
        members = np.stack([subset(job.spec["seed"], number, examples, fraction) for number in numbers])
        names = [f"{stream}{replicate}/subset {number}" for number in numbers]
        shared = stream == "crn"  # common random numbers: one stream a replicate, else one a model
        streams = [["crn", replicate] if shared else ["own", replicate, number] for number in numbers]
    save_tensors(
        job.out / "subsets.safetensors",
        {"members": members, "number": np.asarray(numbers, dtype=np.int64)},
        {"names": names, "streams": streams, "replicate": replicate},
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
