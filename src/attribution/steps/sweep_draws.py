"""Score by few gradient draws: how many a method needs, from one pass over the draws.

Writes scores.safetensors: one array [D, Q, N] float32 a method (gradient_dot, trak, ekfac at their default dampings,
ekfac's in units of the model's mean eigenvalue) for the numbers of draws in draws_sweep.draws, and draws [D].
Memory holds the gradients of all examples, [N, P]: this is for models of the size of the digits' ones.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac as eigenbasis
from attribution.curvature import state
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.inner import inner
from attribution.curvature.noised_batches import by_examples
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.noise import alphas_cumprod
from attribution.methods.gradient_similarity import gradient_dot
from attribution.methods.kfac import ekfac
from attribution.methods.trak import score as trak
from attribution.provenance.job import Job, main
from attribution.steps import loading

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Running sums of the gradients over draws; scores at every number of draws asked for."""
    spec, device = job.spec, devices.choose(job.record)
    sets = {
        name: loading.examples(job.input(flag), device) for name, flag in (("train", "data"), ("queries", "queries"))
    }
    model = loading.single(job.input("model"), spec["denoiser"], sets["train"].shape, device)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    parts = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
    corrected = eigenbasis.merge(parts)
    trak_settings = {"dampings": [spec["methods"]["trak"]["damping"]]}
    ekfac_settings = {"dampings": [spec["methods"]["ekfac"]["damping"]], "unit": "model", "bits": 32}
    counts = spec["draws_sweep"]["draws"]
    totals: dict[str, dict[str, Tensor]] = {}
    scores: dict[str, list[Tensor]] = {"gradient_dot": [], "trak": [], "ekfac": []}
    for start, stop in pairwise([0, *counts]):
        for name, data in sets.items():
            new = _sums(spec, model, data, f"gradients/{name}", start, stop)
            old = totals.get(name)
            totals[name] = {block: old[block] + new[block] for block in new} if old else new
        q, g = ({block: total / stop for block, total in totals[name].items()} for name in ("queries", "train"))
        gram = {"query_train": inner(q, g).cpu().numpy(), "train_train": inner(g, g).cpu().numpy()}
        scores["gradient_dot"].append(torch.from_numpy(gradient_dot(gram, {})[0]))
        scores["trak"].append(torch.from_numpy(trak(gram, trak_settings)[0]))
        rotated = eigenbasis.rotate(q, basis), eigenbasis.rotate(g, basis)
        scores["ekfac"].append(ekfac(*rotated, basis, corrected, ekfac_settings)[0].cpu())
    arrays = {method: torch.stack(layers).float() for method, layers in scores.items()}
    save_tensors(job.out / "scores.safetensors", arrays | {"draws": counts})


def _sums(
    spec: dict[str, Any], model: nn.Module, data: loading.Examples, stream: str, start: int, stop: int
) -> dict[str, Tensor]:
    """Sums of the loss gradients [N, O, J] of draws start..stop-1 of all examples."""
    groups = by_examples(
        data.images,
        data.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        stream=stream,
        count=stop - start,
        batch=spec["gradients"]["batch"],
        quantity="loss",
        first=start,
    )
    parts = [mean_gradients(model, group, spec["curvature"]["bias"], loss_gradient) for _, group in groups]
    return {block: torch.cat([part[block] for part in parts]) * (stop - start) for block in parts[0]}


if __name__ == "__main__":
    main(run, OUTPUTS)
