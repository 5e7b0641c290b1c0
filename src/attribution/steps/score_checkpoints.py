"""Score by inner products of gradients at checkpoints of the training.

Writes scores.safetensors: scores [1, Q, N] float32, larger = removing n hurts q more.
"""

from importlib import import_module

from attribution.core.store import load_tensors, save_tensors
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(products) -> [1, Q, N]."""
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    scores = method.score(load_tensors(job.input("products")))
    save_tensors(job.out / "scores.safetensors", {"scores": scores.astype("float32")})


if __name__ == "__main__":
    main(run, OUTPUTS)
