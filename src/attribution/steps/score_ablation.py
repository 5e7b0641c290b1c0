"""Score by the loss of an encoded ensemble without the members that saw a unit.

Writes scores.safetensors: scores [1, Q, N] float32, larger = removing n hurts q more (an image has its unit's score);
and null.safetensors: scores [Q, K] float32 of rows that belong to no unit.
"""

from importlib import import_module

import numpy as np

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.design.codes import null_rows
from attribution.diffusion.averaged_loss import residual_products
from attribution.diffusion.denoisers import build
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"scores.safetensors": "tolerance", "null.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(products [Q, M, M], retained [A, M]) -> [Q, A]; the draws are the measurement's."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    method = import_module(f"attribution.methods.{spec['job']['module']}")
    queries, design = inputs.examples(job.input("queries"), device), load_tensors(job.input("design"))
    products = residual_products(
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
    retained = design["retained"].astype(bool)
    cohort = f"enc{len(design['unit'])}"
    nulls = ~null_rows(~retained, spec["ablation"]["nulls"], spec["seed"], cohort)
    scores = method.score(products.cpu().numpy(), np.concatenate([retained, nulls])).astype("float32")
    of_units, of_nulls = np.split(scores, [len(retained)], axis=1)
    save_tensors(job.out / "scores.safetensors", {"scores": of_units[None][:, :, design["unit"]]})
    save_tensors(job.out / "null.safetensors", {"scores": of_nulls})


if __name__ == "__main__":
    main(run, OUTPUTS)
