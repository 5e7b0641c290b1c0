"""Score by preconditioned gradients: influence with Kronecker-factored curvature, part by part of the training set.

Writes scores.safetensors (steps/scoring.py). Memory holds one block of the queries' gradients and of those of one part.
"""

import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.files import load_gradients
from attribution.provenance.job import Job, main
from attribution.steps import scoring

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (rotated queries, rotated train, basis, eigenvalues, settings) -> [L, Q, n]."""
    device = devices.choose(job.record)
    score, settings = scoring.function(job), scoring.settings(job)
    queries = load_gradients(job.input("queries"), device)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    sums = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
    corrected = ekfac.merge(sums)
    parts, examples = [], 0
    for path in job.inputs["train"]:
        train = load_gradients(path, device)
        parts.append(score(queries, train, basis, corrected, settings).cpu())
        examples += len(next(iter(train.values())))
    scoring.save(job, torch.cat(parts, 2), len(next(iter(queries.values()))), examples)


if __name__ == "__main__":
    main(run, OUTPUTS)
