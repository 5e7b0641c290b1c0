"""The scores of one method for several models, averaged.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L] where the
members have any.
"""

import numpy as np

from attribution.core.store import load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.methods.ensembles import ensemble
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """--scores: one file a model. Raises StudyError where there is none, or their dampings or shapes differ."""
    paths = job.inputs.get("scores", [])
    if not paths:
        raise StudyError("--scores: an ensemble needs one file or more")
    members = [load_tensors(path) for path in paths]
    first = members[0]
    for path, member in zip(paths, members, strict=True):
        if member["scores"].shape != first["scores"].shape:
            shapes = [list(held["scores"].shape) for held in (first, member)]
            raise StudyError(f"{path}: its scores are {shapes[1]}, those of {paths[0]} are {shapes[0]}: rerun both")
        if not np.array_equal(member.get("dampings", []), first.get("dampings", [])):
            raise StudyError(f"{path}: its dampings are not those of {paths[0]}: rerun both")
    scores = ensemble([member["scores"] for member in members])
    save_tensors(job.out / "scores.safetensors", first | {"scores": scores.astype("float32")})


if __name__ == "__main__":
    main(run, OUTPUTS)
