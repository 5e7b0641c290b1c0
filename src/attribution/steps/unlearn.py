"""Unlearn a cohort of queries, each in a copy of the attributed model: mirrored unlearning, or plain ascent.

Writes models.safetensors (steps/unlearned.py). The receipt notes how many queries met the cap on steps, and how many
took no step at all, whose scores are all 0.
"""

from attribution.core import device as devices
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import loaded, member
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.parameter_kinds import trainable
from attribution.provenance.job import Job, main
from attribution.steps import loading, unlearned
from attribution.unlearning import ascent, mirrored
from attribution.unlearning.null import null_loss

OUTPUTS = {"models.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The first word of the kind's name says which objective."""
    spec, device = job.spec, devices.choose(job.record)
    seed, kind = spec["seed"], spec["job"]["unlearned"]
    settings, abar = spec["unlearning"]["kinds"][kind], alphas_cumprod(spec["diffusion"])
    data, queries = (loading.examples(job.input(name), device) for name in ("data", "queries"))
    cohort = loading.part_of(queries, spec["job"])
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(loading.models(job.input("model"), device), 0)
    first = initial(spec["denoiser"], data.shape, seed, "unlearning", "null")
    fresh = loaded(build(spec["denoiser"], data.shape), first).to(device)
    null = null_loss(spec["unlearning"]["null_loss"], fresh, data.images, abar, seed)
    chosen = set(trainable(model, settings["parameters"], settings["biases"]))
    frozen, trained = ({n: v for n, v in params.items() if (n in chosen) == inside} for inside in (False, True))
    if kind.split("_")[0] == "mirrored":
        found = mirrored.unlearn(model, frozen, trained, cohort.images, data.images, abar, null, settings, seed)
    else:
        found = ascent.ascend(model, frozen, trained, cohort.images, abar, null, settings, seed)
    job.record |= {
        "null": null,
        "capped": int((~found.reached).sum()),
        "without_a_step": int((found.steps == 0).sum()),
        "steps": found.steps.tolist(),
    }
    place = spec["job"].get("first", 0)
    unlearned.save(job.out / "models.safetensors", found, model, params, cohort, place, data, abar, null, seed)


if __name__ == "__main__":
    main(run, OUTPUTS)
