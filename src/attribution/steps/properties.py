"""Measure what contributors are credited for, of every model of a cohort.

Writes properties.safetensors: loss, quality, diversity [M] and query [M, Q'] (evaluation/properties.py), all float64
and oriented so that more is better. Every model meets the same noise.
"""

import numpy as np
import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.diffusion import ensemble_sampler
from attribution.diffusion.denoisers import build
from attribution.evaluation import properties
from attribution.evaluation.quality import classifier_features
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.steps.retrained import query_kinds

OUTPUTS = {"properties.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Samples by the sampler of encoded ensembles, each model alone; losses are those of the step `measure`."""
    spec, device = job.spec, devices.choose(job.record)
    queries, choice = loading.examples(job.input("queries"), device), spec["contributors"]
    params = loading.models(job.input("models"), device)
    model = build(spec["denoiser"], queries.shape).to(device)
    losses = load_tensors(job.input("losses"))["loss"]  # [M, Q]
    chain = ensemble_sampler.chain(spec["diffusion"], choice["steps"])
    names = [f"contributors/{g}" for g in range(choice["samples"])]
    noise = ensemble_sampler.exogenous(chain, spec["seed"], names, queries.shape).to(device)
    alone = torch.eye(len(losses), dtype=torch.bool, device=device)
    samples = ensemble_sampler.sample(model, params, chain, noise, alone, choice["batch"])  # [M, G, C, H, W]

    train, heldout = (load_tensors(job.input(name)) for name in ("train", "heldout"))
    extract = classifier_features(train["images"], train["labels"], spec["seed"])
    features = extract(train["images"])
    means = np.stack([features[train["labels"] == label].mean(0) for label in np.unique(train["labels"])])
    found = properties.of_losses(losses, query_kinds(job.input("queries")))
    found |= properties.of_samples(samples.cpu().numpy(), extract(heldout["images"]), means, extract)
    save_tensors(job.out / "properties.safetensors", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
