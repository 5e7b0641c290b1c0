"""Collect the study's queries: samples of the full model, held-out examples and training examples.

Writes queries.safetensors: images [Q, C, H, W], kind [Q] uint8 (position in meta's kinds), index [Q] int64 (number of
the sample, row of the held-out pool or row of the training set); meta holds kinds and the names that key their noise.
trajectories.safetensors: the way of each query from noise, as sampled, or as inferred for real images (trajectory.py).
"""

import numpy as np
import torch

from attribution.core import device as devices
from attribution.core.rng import rng
from attribution.core.store import save_tensors
from attribution.diffusion import trajectory
from attribution.diffusion.trajectory import Trajectory
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading, trajectories

OUTPUTS = {"queries.safetensors": "tolerance", "trajectories.safetensors": "tolerance"}
KINDS = ("generated", "heldout", "training")


def run(job: Job) -> None:
    """Training queries are drawn by a named stream; held-out ones are the first of the (shuffled) pool."""
    spec, device = job.spec, devices.choose(job.record)
    train, heldout = (loading.examples(job.input(name), device) for name in ("train", "heldout"))
    counts = spec["queries"]
    if counts["heldout"] > len(heldout.names):
        raise StudyError(
            f"queries.heldout: {counts['heldout']}, but {len(heldout.names)} examples are left to hold out"
        )
    rows = {
        "generated": np.arange(counts["generated"]),
        "heldout": np.arange(counts["heldout"]),
        "training": rng(spec["seed"], "queries").permutation(len(train.names))[: counts["training"]],
    }
    samples = [f"generated/{number}" for number in rows["generated"]]
    model = loading.single(job.input("model"), spec["denoiser"], train.shape, device)
    chain = spec["diffusion"], spec["sampling"], spec["seed"]
    sampled = trajectory.trajectory(model, *chain, samples, train.shape, device)
    images = {
        "generated": sampled.states[:, -1],
        "heldout": heldout.images[rows["heldout"]],
        "training": train.images[rows["training"]],
    }
    names = [*samples, *(heldout.names[r] for r in rows["heldout"]), *(train.names[r] for r in rows["training"])]
    save_tensors(
        job.out / "queries.safetensors",
        {
            "images": torch.cat([images[kind] for kind in KINDS]),
            "kind": np.repeat(np.arange(3, dtype=np.uint8), [counts[kind] for kind in KINDS]),
            "index": np.concatenate([rows[kind] for kind in KINDS]).astype(np.int64),
        },
        {"kinds": KINDS, "names": names},
    )
    real = torch.cat([images["heldout"], images["training"]])
    inferred = trajectory.inferred(model, *chain, real, names[len(samples) :])
    ways = Trajectory(
        torch.cat([sampled.states, inferred.states]), torch.cat([sampled.outputs, inferred.outputs]), sampled.t
    )
    trajectories.save(job.out / "trajectories.safetensors", ways, spec["sampling"], names)


if __name__ == "__main__":
    main(run, OUTPUTS)
