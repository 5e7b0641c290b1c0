"""Measure every model of a cohort on every query, all on the same keyed draws.

Writes losses.safetensors: loss [M, Q] float64, mean eps-prediction loss over measurement.draws draws.
"""

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion.denoisers import build
from attribution.diffusion.measurements import measured_loss
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"losses.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over queries x draws for the whole cohort."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    queries = inputs.examples(job.input("queries"), device)
    loss = measured_loss(
        build(spec["denoiser"], queries.shape).to(device),
        inputs.models(job.input("models"), device),
        alphas_cumprod(spec["diffusion"]),
        queries.images,
        queries.names,
        seed=spec["seed"],
        stream="measurement",
        count=spec["measurement"]["draws"],
        batch=spec["measurement"]["batch"],
    )
    if not loss.isfinite().all():
        raise StudyError(f"{job.input('models')}: the loss of some query is not finite; the models are damaged")
    save_tensors(job.out / "losses.safetensors", {"loss": loss})


if __name__ == "__main__":
    main(run, OUTPUTS)
