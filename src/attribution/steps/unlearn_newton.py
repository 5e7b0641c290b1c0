"""Unlearn a cohort of queries by one Newton step each up the query's loss (AbU), with the diagonal of the Fisher matrix
or the study's EK-FAC.

Writes models.safetensors (steps/unlearned.py).
"""

import torch
from torch import Tensor, nn

from attribution.core import device as devices
from attribution.core.store import load_tensors
from attribution.curvature import diagonal, ekfac, state
from attribution.curvature.files import load_gradients
from attribution.curvature.kfac import Basis
from attribution.curvature.noised_batches import batches
from attribution.curvature.precondition import parameters, precondition
from attribution.curvature.solve import relative
from attribution.diffusion.ensemble import member
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.parameter_kinds import trainable
from attribution.provenance.job import Job, main
from attribution.steps import loading, unlearned
from attribution.steps.loading import Examples
from attribution.unlearning.mirrored import Unlearned
from attribution.unlearning.newton_step import newton_step

OUTPUTS = {"models.safetensors": "tolerance"}
NULL = 1.0  # of eps-prediction: what the losses of the check are bounded by


def run(job: Job) -> None:
    """The mean gradients of the queries are preconditioned, and the parameters of the chosen kinds moved."""
    spec, device = job.spec, devices.choose(job.record)
    settings, bias = spec["unlearning"]["kinds"][spec["job"]["unlearned"]], spec["curvature"]["bias"]
    data, queries = (loading.examples(job.input(name), device) for name in ("data", "queries"))
    cohort, place = loading.part_of(queries, spec["job"]), spec["job"].get("first", 0)
    count = len(cohort.names)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(loading.models(job.input("model"), device), 0)
    gradients = {
        block: gradient[place : place + count]
        for block, gradient in load_gradients(job.input("gradients"), device).items()
    }
    basis, eigenvalues = _curvature(job, model, data, settings["draws"], device)
    damping = relative(eigenvalues, [settings["damping"]], settings["unit"])[0]
    directions = parameters(model, precondition(gradients, basis, eigenvalues, damping), bias)
    chosen = trainable(model, settings["parameters"], settings["biases"])
    moved = {name: directions[name] for name in chosen if name in directions}  # norms have no curvature, and stay
    weights = newton_step(params, moved, len(data.names), settings["step"])
    found = Unlearned(
        weights, torch.ones(count, dtype=torch.int64), torch.ones(count, dtype=torch.bool), torch.zeros(count)
    )
    abar = alphas_cumprod(spec["diffusion"])
    unlearned.save(job.out / "models.safetensors", found, model, params, cohort, place, data, abar, NULL, spec["seed"])


def _curvature(
    job: Job, model: nn.Module, data: Examples, draws: int, device: torch.device
) -> tuple[Basis, dict[str, Tensor]]:
    """EK-FAC from its files, or without them the diagonal, in the basis that rotates nothing."""
    spec, bias = job.spec, job.spec["curvature"]["bias"]
    if job.inputs["basis"]:
        sums = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
        return state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device))), ekfac.mean(ekfac.merge(sums))
    rows = batches(
        data.images,
        data.names,
        alphas_cumprod(spec["diffusion"]),
        seed=spec["seed"],
        stream="curvature/rows",
        count=draws,
        batch=spec["curvature"]["batch"],
        pseudo=False,
    )
    squares = diagonal.accumulate(model, rows, fisher="empirical", bias=bias, generator=None)
    return diagonal.identity(model, bias), ekfac.mean(squares)


if __name__ == "__main__":
    main(run, OUTPUTS)
