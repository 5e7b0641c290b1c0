"""Score by curvature-preconditioned gradients: the influence functions, at every damping of the grid.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L].
"""

from importlib import import_module

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import state
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(rotated queries, rotated train, basis, eigenvalues, dampings) -> [L, Q, N]."""
    device = devices.choose()
    job.record |= devices.describe(device)
    name = job.spec["job"]["method"]
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    queries, train, basis, eigenvalues = (
        load_tensors(job.input(part), "pt", str(device)) for part in ("queries", "train", "basis", "eigenvalues")
    )
    dampings = job.spec["methods"][name]["dampings"]
    scores = method.score(
        queries, train, state.unpack_basis(basis), state.unpack_eigenvalues(eigenvalues), dampings
    ).float()
    save_tensors(job.out / "scores.safetensors", {"scores": scores, "dampings": dampings})


if __name__ == "__main__":
    main(run, OUTPUTS)
