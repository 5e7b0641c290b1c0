"""Per-example gradients of one quantity of a model, for a part of the training set or the queries.

Writes gradients.safetensors: block -> [n, O, J] (curvature/blocks.py says which parameters a block holds), mean over
gradients.draws draws or whatever rows the quantity has (curvature/measured_rows.py); of `output`, gradients.outputs
rows for each query, whose number meta holds as "draws". Training examples and queries have draws of their own, other
than the measurement's.
"""

import torch

from attribution.core import device as devices
from attribution.curvature import measured_rows
from attribution.curvature.files import packed, save_packed
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.measured_rows import Draws, Measured
from attribution.diffusion import trajectory
from attribution.diffusion.elbo import Schedule, schedule
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading, trajectories

OUTPUTS = {"gradients.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over examples x rows, a group of examples at a time."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"])
    chain = schedule(spec["diffusion"], spec["levels"])
    measured = _rows(job, data, chain, device)
    bias, choice = spec["curvature"]["bias"], spec["gradients"]
    parts = [
        packed(mean_gradients(model, group, bias, measured.output_gradient).items(), choice["bits"])
        for group in measured.groups
    ]
    meta = {"draws": choice["outputs"]} if spec["job"]["quantity"] == "output" else {}
    save_packed(job.out / "gradients.safetensors", parts, meta)


def _rows(job: Job, data: loading.Examples, chain: Schedule, device: torch.device) -> Measured:
    """Rows of the job's quantity. Raises StudyError for a quantity of queries that is asked of the training set."""
    spec = job.spec
    quantity, choice, part = spec["job"]["quantity"], spec["gradients"], loading.part_of(data, spec["job"])
    draws = Draws(spec["seed"], f"gradients/{spec['job']['set']}", choice["draws"], choice["batch"])
    if quantity in (*measured_rows.ALONG, "output") and spec["job"]["set"] != "queries":
        raise StudyError(f"quantity {quantity!r} is one of queries, not of the training set")
    if quantity == "output":
        return measured_rows.of_outputs(chain, part.images, part.names, draws._replace(count=choice["outputs"]))
    if quantity not in measured_rows.ALONG:
        return measured_rows.of_noise(quantity, chain, part.images, part.names, draws)
    path, sampling, names = trajectories.load(job.input("trajectories"), device)
    if quantity == "trajectory":
        return measured_rows.of_trajectory(trajectory.steps(spec["diffusion"], sampling), path, choice["batch"])
    images, names = trajectory.journey(path, spec["diffusion"], names, sampling["clip"])
    return measured_rows.of_journey(chain, images, names, len(path.states), draws)


if __name__ == "__main__":
    main(run, OUTPUTS)
