"""Sample an encoded ensemble whole, without each unit, and without members at random; and first order in the weights.

Writes landscape.safetensors, images in [-1, 1]: counterfactual [A, G, C, H, W] (the choices of members in the design's
order: without each unit, or each model alone), alone [M, W, C, H, W], W samples of models by themselves; of an ensemble
also factual [G, C, H, W], null [K, G, C, H, W] by choices that belong to no unit, crowd [W, C, H, W], samples of all
members, and products [G, M, M] of the samples' derivatives in the members' weights. cost.json: seconds and passes of a
member of the exact landscape and of the first-order search.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_json, save_tensors
from attribution.design.codes import null_rows
from attribution.diffusion import ensemble_sampler
from attribution.diffusion.denoisers import build
from attribution.provenance.job import Job, main
from attribution.steps import loading

OUTPUTS = {"landscape.safetensors": "tolerance", "cost.json": "statistical"}


def run(job: Job) -> None:
    """All samples from the same exogenous noise, whatever the cohort."""
    spec, device = job.spec, devices.choose(job.record)
    choice, cohort, seed = spec["ablation"], spec["job"]["cohort"], spec["seed"]
    design, params = load_tensors(job.input("design")), loading.models(job.input("models"), device)
    shape = tuple(load_tensors(job.input("pool"))["images"].shape[1:])
    model = build(spec["denoiser"], shape).to(device)
    chain = ensemble_sampler.chain(spec["diffusion"], choice["steps"])
    noise, many = (
        ensemble_sampler.exogenous(chain, seed, [f"{stream}/{g}" for g in range(count)], shape).to(device)
        for stream, count in (("sample", choice["samples"]), ("quality", choice["quality"]))
    )

    def timed(work: Callable) -> tuple:
        devices.finish(device)
        started = time.perf_counter()
        done = work()
        devices.finish(device)
        return done, time.perf_counter() - started

    def sample(kept: Tensor, noise: Tensor) -> Tensor:
        return ensemble_sampler.sample(model, params, chain, noise, kept.to(device), choice["batch"])

    retained = torch.from_numpy(design["retained"]).bool()  # [A, M]
    members = retained.shape[1]
    found = {}
    found["counterfactual"], exact = timed(lambda: sample(retained, noise))
    single = torch.eye(members, dtype=torch.bool)
    if "left_out" in design:
        found["alone"] = sample(single[torch.from_numpy(design["left_out"]) == -1], many)
        save_json(job.out / "cost.json", {"exact": exact})
    else:
        every = torch.ones(1, members, dtype=torch.bool)
        nulls = torch.from_numpy(~null_rows(~design["retained"].astype(bool), choice["nulls"], seed, cohort))
        found |= {"null": sample(nulls, noise), "factual": sample(every, noise)[0]}
        found |= {"alone": sample(single, many), "crowd": sample(every, many)[0]}
        short = ensemble_sampler.chain(spec["diffusion"], 2)
        ensemble_sampler.tangents(model, params, short, noise[:3, :1])  # loads torch's rules
        few = max(1, choice["batch"] // members**2)  # samples of one pass, in M directions of M members
        moved, first = timed(
            lambda: [ensemble_sampler.tangents(model, params, chain, part)[1] for part in noise.split(few, dim=1)]
        )
        flat = torch.cat(moved, 1).flatten(2).double()  # [M, G, D]
        found["products"] = torch.einsum("mgd,kgd->gmk", flat, flat)
        passes = {"exact": members + (len(chain.t) - 1) * int(retained.sum())}  # of one member, a sample
        passes["first"] = len(chain.t) * members + (len(chain.t) - 1) * members**2
        save_json(job.out / "cost.json", {"exact": exact, "first": first, "passes": passes})
    save_tensors(job.out / "landscape.safetensors", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
