"""Kronecker factors of a model's Fisher matrix, summed over a part of the training examples: the map of a map-reduce.

Writes factors.safetensors: sums A [J, J] and B [O, O] a block, float64, and the number of rows (curvature/kfac.py).
The basis is made of all parts' sums.
"""

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.curvature import kfac, state
from attribution.curvature.noised_batches import batches
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading

OUTPUTS = {"factors.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over examples x draws. `averaged` changes the eigenvalues alone: its factors are the empirical ones."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"])
    part = loading.part_of(data, spec["job"])
    choice = spec["curvature"]["kinds"][spec["job"]["curvature"]]
    rows = batches(
        part.images,
        part.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        stream="curvature/factors",
        count=choice["draws"],
        batch=spec["curvature"]["batch"],
        pseudo=choice["fisher"] == "mc",
    )
    factors = kfac.accumulate(
        model,
        rows,
        fisher="empirical" if choice["fisher"] == "averaged" else choice["fisher"],
        sharing=choice["sharing"],
        bias=spec["curvature"]["bias"],
        generator=None,
    )
    save_tensors(job.out / "factors.safetensors", state.pack(factors))


if __name__ == "__main__":
    main(run, OUTPUTS)
