"""Kronecker factors of the full model's GGN, their eigenbasis, and the corrected eigenvalues of EK-FAC.

Writes basis.safetensors (eigenvectors and factor eigenvalues) and eigenvalues.safetensors (sums of squared rotated
gradients). Both passes use keyed draws of their own: fresh ones, as in Mlodozeniec et al. 2025.
"""

from functools import partial

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.curvature import ekfac, kfac, state
from attribution.curvature.noised import batches
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"basis.safetensors": "tolerance", "eigenvalues.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Pass 1 accumulates the factors, pass 2 the eigenvalues in their basis."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    train = inputs.examples(job.input("data"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], train.shape, device)
    choice = spec["curvature"]
    rows = partial(
        batches,
        train.images,
        train.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        count=choice["draws"],
        batch=choice["batch"],
        pseudo=choice["fisher"] == "mc",
    )
    common = {"fisher": choice["fisher"], "bias": choice["bias"], "generator": None}
    factors = kfac.accumulate(model, rows(stream="curvature/factors"), sharing=choice["sharing"], **common)
    basis = kfac.eigenbasis(factors)
    corrected = ekfac.accumulate_eigenvalues(model, rows(stream="curvature/eigenvalues"), basis, **common)
    save_tensors(job.out / "basis.safetensors", state.pack(basis))
    save_tensors(job.out / "eigenvalues.safetensors", state.pack(corrected))


if __name__ == "__main__":
    main(run, OUTPUTS)
