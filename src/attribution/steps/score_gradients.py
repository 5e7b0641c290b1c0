"""Score by inner products of gradients: gradient similarity, and kernels of gradients as TRAK's.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L] where the method
has any.
"""

from importlib import import_module

import numpy as np

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(gram, dampings) -> [L, Q, N]; the gram's "draws" are its rows a query."""
    name = job.spec["job"]["method"]
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    dampings = job.spec["methods"][name].get("dampings", [])
    path = job.input("gram")
    gram = load_tensors(path) | {"draws": np.array(load_meta(path).get("draws", 1))}
    scores = method.score(gram, dampings).astype("float32")
    if scores.shape[1] * gram["draws"] != len(gram["query_train"]):
        raise StudyError(f"{name}: takes one gradient a query, not {gram['draws']}: choose another measurement")
    save_tensors(job.out / "scores.safetensors", {"scores": scores} | ({"dampings": dampings} if dampings else {}))


if __name__ == "__main__":
    main(run, OUTPUTS)
