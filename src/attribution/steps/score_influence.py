"""Score by preconditioned gradients: influence with Kronecker-factored curvature, part by part of the training set.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L].
Memory holds one block of the queries' gradients and of those of one part.
"""

from importlib import import_module

import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.files import load_gradients
from attribution.provenance.job import Job, main

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(rotated queries, rotated train, basis, eigenvalues, dampings, unit, bits)."""
    device = devices.choose()
    job.record |= devices.describe(device)
    method = import_module(f"attribution.methods.{job.spec['job']['module']}")
    settings = job.spec["methods"][job.spec["job"]["method"]]
    queries = load_gradients(job.input("queries"), device)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    sums = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
    corrected = ekfac.merge(sums)
    dampings, unit, bits = settings["dampings"], settings["unit"], settings["bits"]
    parts = [
        method.score(queries, load_gradients(path, device), basis, corrected, dampings, unit, bits).cpu()
        for path in job.inputs["train"]
    ]
    save_tensors(job.out / "scores.safetensors", {"scores": torch.cat(parts, 2).float(), "dampings": dampings})


if __name__ == "__main__":
    main(run, OUTPUTS)
