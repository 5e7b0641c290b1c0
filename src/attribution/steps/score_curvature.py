"""Score by a curvature that needs no eigenbasis of its own: the diagonal, or the GGN of sampled rows.

Writes scores.safetensors: scores [L, Q, N] float32, larger = removing n hurts q more, and dampings [L].
"""

from importlib import import_module

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature.noised import batches
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(queries, train, model, batches, fisher, bias, dampings) -> [L, Q, N]."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    method = import_module(f"attribution.methods.{spec['job']['module']}")
    settings, choice = spec["methods"][spec["job"]["method"]], spec["curvature"]
    data = inputs.examples(job.input("data"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], data.shape, device)
    rows = batches(
        data.images,
        data.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        stream="curvature/rows",
        count=settings["draws"],
        batch=choice["batch"],
        pseudo=choice["fisher"] == "mc",
    )
    queries, train = (load_tensors(job.input(name), "pt", str(device)) for name in ("queries", "train"))
    scores = method.score(queries, train, model, rows, choice["fisher"], choice["bias"], settings["dampings"])
    save_tensors(job.out / "scores.safetensors", {"scores": scores.float(), "dampings": settings["dampings"]})


if __name__ == "__main__":
    main(run, OUTPUTS)
