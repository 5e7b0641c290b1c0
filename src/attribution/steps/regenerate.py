"""What a counterfactual cohort makes of the noise that the queries were generated from, and its losses on the queries.

Writes regenerated.safetensors: images [M, Q, C, H, W] in [-1, 1] of generated queries, sampled from their own noise,
and loss [M, Q] float64 on the queries as they were generated, over the draws of the measurement. A model from
which nothing is removed gives back the queries themselves, up to rounding, under the stream of the full model.
"""

import numpy as np
import torch

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion import quantities, trajectory
from attribution.diffusion.denoisers import build
from attribution.diffusion.elbo import schedule
from attribution.diffusion.ensemble import loaded, member
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.steps.retrained import query_kinds

OUTPUTS = {"regenerated.safetensors": "tolerance"}
KIND = "generated"


def run(job: Job) -> None:
    """Model by model, all of the generated queries that are judged."""
    spec, device = job.spec, devices.choose(job.record)
    leave, joint, seed = spec["counterfactual"]["leave"], spec["counterfactual"]["joint"], spec["seed"]
    count = max(leave["queries"], joint["queries"] + joint["controls"])
    queries = loading.examples(job.input("queries"), device)
    rows = np.flatnonzero(query_kinds(job.input("queries")) == KIND)[:count]
    images, names = queries.images[torch.from_numpy(rows).to(device)], [queries.names[row] for row in rows]
    model = build(spec["denoiser"], queries.shape).to(device)
    params = loading.models(job.input("models"), device)
    made = []
    for m in range(len(next(iter(params.values())))):
        chain = spec["diffusion"], spec["sampling"], seed
        sampled = trajectory.trajectory(loaded(model, member(params, m)), *chain, names, queries.shape, device)
        made.append(sampled.states[:, -1].cpu())
    measured = quantities.measured(
        ["loss"],
        schedule(spec["diffusion"], spec["levels"]),
        model,
        params,
        images,
        names,
        seed=seed,
        stream="measurement",
        count=spec["measurement"]["draws"],
        batch=spec["measurement"]["batch"],
    )
    found = {"images": torch.stack(made), "loss": measured["loss"]}
    if not all(value.isfinite().all() for value in found.values()):
        raise StudyError(f"{job.input('models')}: an image or loss is not finite; the models are damaged")
    save_tensors(job.out / "regenerated.safetensors", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
