"""Score by solving with the exact Gauss-Newton matrix of the model.

Writes scores.safetensors (steps/scoring.py). The receipt notes how far the solve came: steps, estimated relative
residual and its bound, norms on the way. While it runs, checkpoint.safetensors holds the state that it would resume
from; it is bound to this job's identity, as that of training is.
"""

import torch

from attribution.core import device as devices
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.curvature import ekfac, state
from attribution.curvature.files import load_gradients
from attribution.curvature.fresh import fresh
from attribution.curvature.iterate import State
from attribution.curvature.kfac import Basis
from attribution.curvature.problem import Blocks, Problem
from attribution.curvature.rows import Batch
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading, scoring

OUTPUTS = {"scores.safetensors": "tolerance"}
VECTORS = 5  # right-hand sides of one pass on a CPU: what a core's cache holds


def run(job: Job) -> None:
    """The method's function of (problem, settings, state, look) -> [1, Q, N] and facts."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    queries = dict(load_gradients(job.input("queries"), device).items())
    count = len(next(iter(queries.values())))
    abar = alphas_cumprod(spec["diffusion"]).to(device)

    def rows(stream: str, step: int, number: int) -> Batch:
        return fresh(data.images, abar, number, seed=spec["seed"], stream=f"ggn solve/{stream}", step=step)

    problem = Problem(
        queries=queries,
        parts=(load_gradients(path, device) for path in job.inputs["train"]),
        model=loading.single(job.input("model"), spec["denoiser"], data.shape, device, spec["job"]["model"]),
        rows=rows,
        bias=spec["curvature"]["bias"],
        learning_rate=spec["training"]["learning_rate"],
        weight_decay=spec["training"]["weight_decay"],
        ekfac=_ekfac(job, device),
        vectors=count if device.type == "cuda" else VECTORS,
    )
    checkpoint = job.out / "checkpoint.safetensors"

    def look(reached: State) -> None:
        meta = {"identity": job.identity, "step": reached.step, "trace": reached.trace}
        save_tensors(checkpoint, reached.tensors(), meta)

    scores, facts = scoring.function(job)(problem, scoring.settings(job), _resume(job, device), look)
    job.record |= facts
    scoring.save(job, scores.cpu(), count, len(data.names))
    checkpoint.unlink(missing_ok=True)


def _ekfac(job: Job, device: torch.device) -> tuple[Basis, Blocks] | None:
    """Eigenbasis and corrected eigenvalues; nothing for a method that names no curvature."""
    if not job.inputs.get("basis"):
        return None
    sums = (state.unpack_eigenvalues(load_tensors(path, "pt", str(device))) for path in job.inputs["eigenvalues"])
    return state.unpack_basis(load_tensors(job.input("basis"), "pt", str(device))), ekfac.mean(ekfac.merge(sums))


def _resume(job: Job, device: torch.device) -> State | None:
    """The state of this job's last checkpoint, if any; one of another job is ignored, a damaged one refused."""
    checkpoint = job.out / "checkpoint.safetensors"
    meta = load_meta(checkpoint) if checkpoint.exists() else {}
    if meta.get("identity") != job.identity:
        return None
    return State.restored(meta["step"], meta["trace"], load_tensors(checkpoint, "pt", str(device)))


if __name__ == "__main__":
    main(run, OUTPUTS)
