"""Prune the full model and let it recover on all examples: what every coalition is fine-tuned from.

Writes models.safetensors: the models "sparse" and "untrained", the first weights of the full one, which no contributor
has had a part in; masks.safetensors: parameter name -> bool, False where pruned; log.jsonl as the step `train` does.
"""

import torch

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion.denoisers import initial
from attribution.diffusion.ensemble import member, stack
from attribution.provenance.job import Job, main
from attribution.steps import finetune, loading
from attribution.training.loop import Cohort
from attribution.training.sparsify import magnitude_masks
from attribution.training.stream import Stream

OUTPUTS = {"models.safetensors": "tolerance", "masks.safetensors": "tolerance", "log.jsonl": "statistical"}


def run(job: Job) -> None:
    """Recovers on the stream "recover", on which nothing else is trained."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    dense = member(loading.models(job.input("models"), device), 0)
    masks = magnitude_masks(dense, spec["contributors"]["sparsity"])
    everything = torch.arange(len(data.images), device=device)[None]
    cohort = Cohort(("sparse",), everything, (Stream(spec["seed"], ("recover",)),))
    settings = (spec["denoiser"], spec["diffusion"], spec["training"], spec["contributors"]["recover"])
    sparse = finetune.tuned(job.out, settings, dense, masks, cohort, data)
    untrained = initial(spec["denoiser"], data.shape, spec["seed"], "crn", 0)
    found = stack([member(sparse, 0), {name: value.to(device) for name, value in untrained.items()}])
    save_tensors(job.out / "models.safetensors", found, {"names": ["sparse", "untrained"]})
    save_tensors(job.out / "masks.safetensors", masks)


if __name__ == "__main__":
    main(run, OUTPUTS)
