"""All images of the study in one file, which encoded splits of any size take from its front.

Writes pool.safetensors: images [N, C, H, W], labels [N] and index [N], the training set first, then the held-out pool
from its back: what a larger training set would take next. The first held-out examples, queries among them, come last.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.provenance.job import Job, main

OUTPUTS = {"pool.safetensors": "bitwise"}


def run(job: Job) -> None:
    """Where the source has a test part, that part follows the training set, and is never trained on by the rules."""
    train, heldout = (load_tensors(job.input(name)) for name in ("train", "heldout"))
    tensors = {name: np.concatenate([train[name], heldout[name][::-1]]) for name in ("images", "labels", "index")}
    save_tensors(job.out / "pool.safetensors", tensors)


if __name__ == "__main__":
    main(run, OUTPUTS)
