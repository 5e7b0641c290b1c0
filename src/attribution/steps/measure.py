"""Measure every model of a cohort on every query, all on the same keyed draws.

Writes losses.safetensors: each of measurement.quantities, [M, Q] float64, its mean over measurement.draws draws.
"""

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion.denoisers import build
from attribution.diffusion.elbo import schedule
from attribution.diffusion.quantities import measured
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import inputs
from attribution.steps.levels import LEVELS

OUTPUTS = {"losses.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over queries x draws for the whole cohort."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    queries = inputs.examples(job.input("queries"), device)
    found = measured(
        spec["measurement"]["quantities"],
        schedule(spec["diffusion"], LEVELS[spec["data"]["dataset"]]),
        build(spec["denoiser"], queries.shape).to(device),
        inputs.models(job.input("models"), device),
        queries.images,
        queries.names,
        seed=spec["seed"],
        stream="measurement",
        count=spec["measurement"]["draws"],
        batch=spec["measurement"]["batch"],
    )
    for quantity, values in found.items():
        if not values.isfinite().all():
            raise StudyError(
                f"{job.input('models')}: the {quantity} of some query is not finite; the models are damaged"
            )
    save_tensors(job.out / "losses.safetensors", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
