"""Fine-tune the pruned model on each coalition of one cohort, in one batched computation.

Writes models.safetensors and log.jsonl as the step `train` does. It takes few steps and is not resumed.
"""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from attribution.core import device as devices
from attribution.core.store import append_jsonl, load_meta, load_tensors, save_tensors
from attribution.diffusion.denoisers import build
from attribution.diffusion.ensemble import Stack, member
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.steps.loading import Examples
from attribution.training import sparsify
from attribution.training.loop import Cohort
from attribution.training.stream import Stream

OUTPUTS = {"models.safetensors": "tolerance", "log.jsonl": "statistical"}


def run(job: Job) -> None:
    """All coalitions from the same weights, under common random numbers."""
    spec, device = job.spec, devices.choose(job.record)
    data, design = loading.examples(job.input("data"), device), load_meta(job.input("subsets"))
    members = load_tensors(job.input("subsets"), "pt")["members"].to(device)
    streams = tuple(Stream(spec["seed"], tuple(names)) for names in design["streams"])
    cohort = Cohort(tuple(design["names"]), members, streams)
    start = member(loading.models(job.input("sparse"), device), 0)
    masks = load_tensors(job.input("masks"), "pt", str(device))
    settings = (spec["denoiser"], spec["diffusion"], spec["training"], spec["contributors"]["finetune"])
    weights = tuned(job.out, settings, start, masks, cohort, data)
    save_tensors(job.out / "models.safetensors", weights, {"names": design["names"]})


def tuned(
    out: Path,
    settings: tuple[dict[str, Any], ...],
    start: dict[str, Tensor],
    masks: sparsify.Masks,
    cohort: Cohort,
    data: Examples,
) -> Stack:
    """training.sparsify.finetune with a log; settings: denoiser, diffusion, training, and what stands in its place."""
    denoiser, diffusion, training, choice = settings
    log = out / "log.jsonl"
    log.unlink(missing_ok=True)
    return sparsify.finetune(
        build(denoiser, data.shape).to(data.images.device),
        start,
        masks,
        cohort,
        data.images,
        alphas_cumprod(diffusion),
        training,
        choice,
        on_log=partial(append_jsonl, log),
        on_checkpoint=lambda state: None,
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
