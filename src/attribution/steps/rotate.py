"""Rotate gradients into the Kronecker eigenbasis, once: a score at any damping is then one weighted product.

Writes gradients.safetensors: block -> [N or Q, O, J] float32, Q_B^T G Q_A.
"""

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, state
from attribution.provenance.job import Job, main

OUTPUTS = {"gradients.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One file in, one file out."""
    device = devices.choose()
    job.record |= devices.describe(device)
    gradients, basis = (load_tensors(job.input(name), "pt", str(device)) for name in ("gradients", "basis"))
    save_tensors(job.out / "gradients.safetensors", ekfac.rotate(gradients, state.unpack_basis(basis)))


if __name__ == "__main__":
    main(run, OUTPUTS)
