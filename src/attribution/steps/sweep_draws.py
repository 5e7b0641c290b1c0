"""Score by few gradient draws: how many a method needs, from one pass over the draws.

Writes scores.safetensors: one array [D, Q, N] float32 a method (gradient_dot, trak, ekfac at their default dampings)
for the numbers of draws in draws_sweep.draws, and draws [D].
"""

import torch
from torch import Tensor

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac as eigenbasis
from attribution.curvature import state
from attribution.curvature.gradients import example_gradients
from attribution.curvature.inner import inner
from attribution.curvature.noised import noised
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.noise import alphas_cumprod
from attribution.methods import ekfac, gradient_dot, trak
from attribution.provenance.job import Job, main
from attribution.steps import inputs

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Running sums of the gradients over draws; scores at every number of draws asked for."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    train = inputs.examples(job.input("data"), device)
    queries = inputs.examples(job.input("queries"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], train.shape, device)
    basis = state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device)))
    sums = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
    corrected = eigenbasis.merge(sums)
    abar = alphas_cumprod(spec["diffusion"])

    def add(total: dict[str, Tensor] | None, data: inputs.Examples, stream: str, start: int, stop: int):
        """Sum of the gradients of draws 0..stop-1, given that of draws 0..start-1."""
        height = max(1, spec["gradients"]["batch"] // (stop - start))
        parts = []
        for first in range(0, len(data.names), height):
            rows = slice(first, first + height)
            batch = noised(
                data.images[rows],
                data.names[rows],
                abar,
                seed=spec["seed"],
                stream=stream,
                start=start,
                stop=stop,
                quantity="loss",
                pseudo=False,
            )
            parts.append(example_gradients(model, batch, spec["curvature"]["bias"], loss_gradient))
        new = {block: torch.cat([part[block] for part in parts]) * (stop - start) for block in parts[0]}
        return new if total is None else {block: total[block] + new[block] for block in new}

    counts = spec["draws_sweep"]["draws"]
    sums: dict[str, dict[str, Tensor] | None] = {"train": None, "queries": None}
    scores: dict[str, list[Tensor]] = {"gradient_dot": [], "trak": [], "ekfac": []}
    for start, stop in zip([0, *counts], counts, strict=False):
        sums = {
            name: add(sums[name], data, f"gradients/{name}", start, stop)
            for name, data in (("train", train), ("queries", queries))
        }
        g, q = ({block: total / stop for block, total in sums[name].items()} for name in ("train", "queries"))
        gram = {"query_train": inner(q, g).cpu().numpy(), "train_train": inner(g, g).cpu().numpy()}
        scores["gradient_dot"].append(torch.from_numpy(gradient_dot.score(gram, [])[0]))
        scores["trak"].append(torch.from_numpy(trak.score(gram, [spec["methods"]["trak"]["damping"]])[0]))
        rotated = eigenbasis.rotate(q, basis), eigenbasis.rotate(g, basis)
        ratio = spec["methods"]["ekfac"]["damping"]
        scores["ekfac"].append(ekfac.score(*rotated, basis, corrected, [ratio])[0].cpu())
    arrays = {method: torch.stack(layers).float() for method, layers in scores.items()}
    save_tensors(job.out / "scores.safetensors", arrays | {"draws": counts})


if __name__ == "__main__":
    main(run, OUTPUTS)
