"""Rotate gradients into the Kronecker eigenbasis, once: a score at any damping is then one weighted product.

Writes gradients.safetensors: block -> [n, O, J], Q_B^T G Q_A, of the examples of one part.
"""

from attribution.core import device as devices
from attribution.core.store import load_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.files import load_gradients, save_gradients
from attribution.provenance.job import Job, main

OUTPUTS = {"gradients.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One file in, one file out."""
    device = devices.choose()
    job.record |= devices.describe(device)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    rotated = ekfac.rotate(load_gradients(job.input("gradients"), device), basis)
    save_gradients(job.out / "gradients.safetensors", rotated, job.spec["gradients"]["bits"])


if __name__ == "__main__":
    main(run, OUTPUTS)
