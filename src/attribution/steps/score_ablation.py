"""Score by the loss of an encoded ensemble without the members that saw a unit.

Writes scores.safetensors (steps/scoring.py; an image has its unit's score), and null.safetensors: scores [Q, K] float32
of rows that belong to no unit.
"""

import numpy as np

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.design.codes import null_rows
from attribution.diffusion.denoisers import build
from attribution.diffusion.ensemble_loss import residual_products
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading, scoring

OUTPUTS = {"scores.safetensors": "tolerance", "null.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (products [Q, M, M], retained [A, M], settings) -> [Q, A]; the measurement's draws."""
    spec, device = job.spec, devices.choose(job.record)
    queries, design = loading.examples(job.input("queries"), device), load_tensors(job.input("design"))
    products = residual_products(
        build(spec["denoiser"], queries.shape).to(device),
        loading.models(job.input("models"), device),
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
    kept = np.concatenate([retained, nulls])
    scores = scoring.function(job)(products.cpu().numpy(), kept, scoring.settings(job)).astype("float32")
    of_units, of_nulls = np.split(scores, [len(retained)], axis=1)
    scoring.save(job, of_units[:, design["unit"]], len(queries.names), len(design["unit"]))
    save_tensors(job.out / "null.safetensors", {"scores": of_nulls})


if __name__ == "__main__":
    main(run, OUTPUTS)
