"""Score by inner products of gradients: gradient similarity and TRAK's exact kernel.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L] where the method
has any.
"""

from importlib import import_module

from attribution.core.store import load_tensors, save_tensors
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(gram, dampings) -> [L, Q, N]."""
    name = job.spec["job"]["method"]
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    dampings = job.spec["methods"][name].get("dampings", [])
    scores = method.score(load_tensors(job.input("gram")), dampings).astype("float32")
    save_tensors(job.out / "scores.safetensors", {"scores": scores} | ({"dampings": dampings} if dampings else {}))


if __name__ == "__main__":
    main(run, OUTPUTS)
