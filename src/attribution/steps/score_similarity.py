"""Score by comparing images: the methods that need no model.

Writes scores.safetensors: scores [1, Q, N] float32, larger = removing n hurts q more.
"""

from importlib import import_module

from attribution.core.store import load_tensors, save_tensors
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "bitwise"}


def run(job: Job) -> None:
    """methods/<module>.py: score(queries [Q, C, H, W], train [N, C, H, W], seed) -> [Q, N]."""
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    images = [load_tensors(job.input(name))["images"] for name in ("queries", "train")]
    scores = method.score(*images, job.spec["seed"])
    save_tensors(job.out / "scores.safetensors", {"scores": scores[None].astype("float32")})


if __name__ == "__main__":
    main(run, OUTPUTS)
