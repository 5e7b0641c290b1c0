"""EK-FAC's corrected eigenvalues in a given basis, summed over a part of the training examples.

Writes eigenvalues.safetensors: sums of squared rotated gradients [O, J] a block, float64, and the number of rows.
The draws are other ones than the factors', as in Mlodozeniec et al. 2025.
"""

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.noised_batches import batches, by_examples
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading

OUTPUTS = {"eigenvalues.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over examples x draws: squares of single rows' gradients, or of their mean over an example's draws."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"])
    part = loading.part_of(data, spec["job"])
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    choice, bias = spec["curvature"]["kinds"][spec["job"]["curvature"]], spec["curvature"]["bias"]
    draw = {"seed": spec["seed"], "stream": "curvature/eigenvalues", "count": choice["draws"]}
    rows = {"abar": alphas_cumprod(spec["diffusion"]), "batch": spec["curvature"]["batch"]} | draw
    if choice["fisher"] == "averaged":
        groups = by_examples(part.images, part.names, quantity="loss", **rows)
        corrected = ekfac.accumulate_averaged(model, (group for _, group in groups), basis, bias)
    else:
        drawn = batches(part.images, part.names, pseudo=choice["fisher"] == "mc", **rows)
        corrected = ekfac.accumulate_eigenvalues(
            model, drawn, basis, fisher=choice["fisher"], bias=bias, generator=None
        )
    save_tensors(job.out / "eigenvalues.safetensors", state.pack(corrected))


if __name__ == "__main__":
    main(run, OUTPUTS)
