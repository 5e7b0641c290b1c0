"""Score by a curvature that needs no eigenbasis of its own: its diagonal, the GGN itself, the GGN of sampled rows.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L].
"""

from importlib import import_module

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.curvature.files import load_gradients
from attribution.curvature.noised import batches
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(queries, parts of train, model, batches, fisher, bias, dampings) -> [L, Q, N]."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    method = import_module(f"attribution.methods.{spec['job']['module']}")
    settings = spec["methods"][spec["job"]["method"]]
    data = inputs.examples(job.input("data"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"])
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
    dampings = settings["dampings"]
    scores = method.score(queries, parts, model, rows, settings["fisher"], spec["curvature"]["bias"], dampings)
    save_tensors(job.out / "scores.safetensors", {"scores": scores.float(), "dampings": dampings})


if __name__ == "__main__":
    main(run, OUTPUTS)
