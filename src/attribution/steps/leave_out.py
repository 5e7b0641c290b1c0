"""Training sets without one unit, for a sample of units: the ground truth of ablations.

Writes subsets.safetensors as the step `encode` does: members [M, n], number [M]; retained [M, M] uint8, each model
alone; left_out [M] int64, the unit that a model was trained without, -1 for none.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.design.leave_out import replaced, sampled_units
from attribution.provenance.job import Job, main

OUTPUTS = {"subsets.safetensors": "bitwise"}


def run(job: Job) -> None:
    """Half the units are on top of the first samples' landscapes, half are drawn; replicates share a stream within."""
    spec, cohort = job.spec, job.spec["job"]["cohort"]
    choice, seed = spec["ablation"]["retrain"], spec["seed"]
    unit, landscape = load_tensors(job.input("design"))["unit"], load_tensors(job.input("landscape"))
    made = landscape["factual"], landscape["counterfactual"]
    chosen = [-1, *sampled_units(*made, choice["units"], seed, cohort)]
    lists = np.stack([replaced(unit, left, spec["training"]["batch"], seed, cohort) for left in chosen])
    replicates = range(choice["replicates"])
    models = len(chosen) * len(replicates)
    save_tensors(
        job.out / "subsets.safetensors",
        {
            "members": np.concatenate([lists for _ in replicates]),
            "number": np.arange(models),
            "retained": np.eye(models, dtype=np.uint8),
            "left_out": np.tile(np.array(chosen, dtype=np.int64), len(replicates)),
        },
        {
            "names": [f"{cohort}/without unit {left} replicate {r}" for r in replicates for left in chosen],
            "streams": [[cohort, r] for r in replicates for _ in chosen],
            "replicate": 0,
        },
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
