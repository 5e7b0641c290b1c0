"""Rotate gradients into the Kronecker eigenbasis, once: a score at any damping is then one weighted product.

Writes gradients.safetensors: block -> [n, O, J], Q_B^T G Q_A, of the examples of one part.
"""

from attribution.core import device as devices
from attribution.core.store import load_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.files import load_gradients, packed, save_packed
from attribution.provenance.job import Job, main

OUTPUTS = {"gradients.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One file in, one file out, block by block."""
    device = devices.choose(job.record)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    rotated = ekfac.rotated(load_gradients(job.input("gradients"), device), basis)
    save_packed(job.out / "gradients.safetensors", [packed(rotated, job.spec["gradients"]["bits"])])


if __name__ == "__main__":
    main(run, OUTPUTS)
