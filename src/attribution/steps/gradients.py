"""Per-example loss gradients of the full model for the training set and the queries, mean over gradients.draws draws.

Writes train.safetensors and queries.safetensors: block -> [N or Q, O, J] float32 (curvature/blocks.py says which
parameters a block holds). Training examples and queries have draws of their own, other than the measurement's.
"""

import torch
from torch import Tensor, nn

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised import by_examples
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"train.safetensors": "tolerance", "queries.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Two passes: training examples, then queries."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    train = inputs.examples(job.input("data"), device)
    queries = inputs.queries(job.input("queries"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], train.shape, device)
    for name, data in (("train", train), ("queries", queries)):
        save_tensors(job.out / f"{name}.safetensors", _gradients(model, data, f"gradients/{name}", spec))


def _gradients(model: nn.Module, data: inputs.Examples, stream: str, spec: dict) -> dict[str, Tensor]:
    """Block -> [N, O, J], on the CPU."""
    parts = [
        {
            block: gradient.cpu()
            for block, gradient in mean_gradients(model, draws, spec["curvature"]["bias"], loss_gradient).items()
        }
        for _, draws in by_examples(
            data.images,
            data.names,
            alphas_cumprod(spec["diffusion"]),
            seed=spec["seed"],
            stream=stream,
            count=spec["gradients"]["draws"],
            batch=spec["gradients"]["batch"],
        )
    ]
    return {block: torch.cat([part[block] for part in parts]) for block in parts[0]}


if __name__ == "__main__":
    main(run, OUTPUTS)
