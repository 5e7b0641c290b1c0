"""Draw the code of an encoded ensemble: which member is trained on which units.

Writes subsets.safetensors as the step `design` does: members [M, n], number [M]; and retained [N, M] uint8, the
members that never saw a unit, and unit [images] int64, whose image each is.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.design import codes
from attribution.errors import StudyError
from attribution.provenance.job import Job, main

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """The first `size` images; members share nothing: each has a stream, and with it first weights, of its own."""
    spec, cohort = job.spec, job.spec["job"]["cohort"]
    size, choice, seed = spec["job"]["size"], spec["ablation"], spec["seed"]
    labels = load_tensors(job.input("pool"))["labels"]
    if size > len(labels):
        raise StudyError(f"ablation.sizes: {size}, but the study has {len(labels)} images; lower it")
    unit = np.arange(size) if choice["unit"] == "image" else np.unique(labels[:size], return_inverse=True)[1]
    code = codes.code(choice["code"], int(unit.max()) + 1, choice["members"], seed, cohort)
    members = range(choice["members"])
    save_tensors(
        job.out / "subsets.safetensors",
        {
            "members": codes.shards(code, unit, spec["training"]["batch"], seed, cohort),
            "number": np.arange(len(members)),
            "retained": (~code).astype(np.uint8),
            "unit": unit.astype(np.int64),
        },
        {
            "names": [f"{cohort}/member {j}" for j in members],
            "streams": [[cohort, j] for j in members],
            "replicate": 0,
        },
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
