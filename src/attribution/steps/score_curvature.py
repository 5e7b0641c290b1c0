"""Score by a curvature that needs no eigenbasis of its own: its diagonal, the GGN itself, the GGN of sampled rows.

Writes scores.safetensors (steps/scoring.py).
"""

from attribution.core import device as devices
from attribution.curvature.files import load_gradients
from attribution.curvature.noised_batches import batches
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading, scoring

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (queries, parts of train, model, batches, bias, settings) -> [L, Q, N]."""
    spec, device = job.spec, devices.choose(job.record)
    settings = scoring.settings(job)
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"])
    rows = batches(
        data.images,
        data.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        stream="curvature/rows",
        count=settings["draws"],
        batch=spec["curvature"]["batch"],
        pseudo=settings["fisher"] == "mc",
    )
    queries = load_gradients(job.input("queries"), device)
    parts = (load_gradients(path, device) for path in job.inputs["train"])
    scores = scoring.function(job)(queries, parts, model, rows, spec["curvature"]["bias"], settings)
    scoring.save(job, scores.cpu(), len(next(iter(queries.values()))), len(data.names))


if __name__ == "__main__":
    main(run, OUTPUTS)
