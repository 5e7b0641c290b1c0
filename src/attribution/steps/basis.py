"""The Kronecker eigenbasis of all training examples, from the factor sums of their parts: the reduce of a map-reduce.

Writes basis.safetensors: eigenvectors QA [J, J] and QB [O, O] of every block, and the factors' eigenvalues.
"""

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import kfac, state
from attribution.provenance.job import Job, main

OUTPUTS = {"basis.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Sums are added, then decomposed."""
    device = devices.choose(job.record)
    parts = (state.unpack_factors(load_tensors(path, "pt", str(device))) for path in job.inputs["factors"])
    save_tensors(job.out / "basis.safetensors", state.pack(kfac.eigenbasis(kfac.merge(parts))))


if __name__ == "__main__":
    main(run, OUTPUTS)
