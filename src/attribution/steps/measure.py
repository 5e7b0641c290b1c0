"""Measure every model of a cohort on every query, all on the same keyed draws.

Writes losses.safetensors: each of measurement.quantities, [M, Q] float64: its mean over measurement.draws draws, or, of
`trajectory`, minus the log-probability of the query's stored way. Lower is better.
"""

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion import quantities, trajectory
from attribution.diffusion.denoisers import build
from attribution.diffusion.elbo import schedule
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading, trajectories

OUTPUTS = {"losses.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over queries x draws for the whole cohort, and one over the steps of the queries' trajectories."""
    spec, device = job.spec, devices.choose(job.record)
    queries = loading.examples(job.input("queries"), device)
    model = build(spec["denoiser"], queries.shape).to(device)
    params, choice = loading.models(job.input("models"), device), spec["measurement"]
    found = quantities.measured(
        [quantity for quantity in choice["quantities"] if quantity != "trajectory"],
        schedule(spec["diffusion"], spec["levels"]),
        model,
        params,
        queries.images,
        queries.names,
        seed=spec["seed"],
        stream="measurement",
        count=choice["draws"],
        batch=choice["batch"],
    )
    if "trajectory" in choice["quantities"]:
        path, sampling, _ = trajectories.load(job.input("trajectories"), device)
        counted = trajectory.steps(spec["diffusion"], sampling)
        found["trajectory"] = trajectory.measured(model, params, counted, path, choice["batch"])
    for quantity, values in found.items():
        if not values.isfinite().all():
            raise StudyError(
                f"{job.input('models')}: the {quantity} of some query is not finite; the models are damaged"
            )
    save_tensors(job.out / "losses.safetensors", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
