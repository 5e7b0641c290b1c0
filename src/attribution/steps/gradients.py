"""Per-example gradients of one quantity of the full model, for the training set or the queries.

Writes gradients.safetensors: block -> [N or Q, O, J] float32, mean over gradients.draws draws (curvature/blocks.py says
which parameters a block holds). Training examples and queries have draws of their own, other than the measurement's.
"""

import torch

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised import by_examples
from attribution.diffusion.elbo import schedule
from attribution.diffusion.quantities import output_gradient
from attribution.provenance.job import Job, main
from attribution.steps import inputs
from attribution.steps.levels import LEVELS

OUTPUTS = {"gradients.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over examples x draws."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    data = inputs.examples(job.input("data"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], data.shape, device)
    chain = schedule(spec["diffusion"], LEVELS[spec["data"]["dataset"]])
    of_output = output_gradient(spec["job"]["quantity"], chain)
    bias = spec["curvature"]["bias"]
    parts = [
        {block: gradient.cpu() for block, gradient in mean_gradients(model, draws, bias, of_output).items()}
        for _, draws in by_examples(
            data.images,
            data.names,
            chain.abar.float(),
            seed=spec["seed"],
            stream=f"gradients/{spec['job']['set']}",
            count=spec["gradients"]["draws"],
            batch=spec["gradients"]["batch"],
            quantity=spec["job"]["quantity"],
        )
    ]
    gradients = {block: torch.cat([part[block] for part in parts]) for block in parts[0]}
    save_tensors(job.out / "gradients.safetensors", gradients)


if __name__ == "__main__":
    main(run, OUTPUTS)
