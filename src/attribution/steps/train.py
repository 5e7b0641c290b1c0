"""Train one cohort of denoisers, each on its own subset, in one batched computation.

Writes models.safetensors (averaged weights, parameter name -> [M, ...]) and log.jsonl (loss and learning rate by step).
While it runs, checkpoint.safetensors holds the state it would resume from; it is bound to this job's identity, so a
checkpoint of another configuration, code or input is never resumed.
"""

import sys
from pathlib import Path

from tqdm import tqdm

from attribution.core import device as devices
from attribution.core.store import append_jsonl, load_meta, load_tensors, save_tensors
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.training.loop import Cohort, train
from attribution.training.state import State
from attribution.training.stream import Stream

OUTPUTS = {"models.safetensors": "tolerance", "log.jsonl": "statistical"}


def run(job: Job) -> None:
    """Resume from this job's checkpoint if there is one, train to the end, save, remove the checkpoint."""
    spec, device = job.spec, devices.choose(job.record)
    if "precision" in spec["training"]:
        job.record["precision"] = spec["training"]["precision"]
    data = loading.examples(job.input("data"), device)
    design = load_meta(job.input("subsets"))
    members = load_tensors(job.input("subsets"), "pt")["members"].to(device)
    streams = tuple(Stream(spec["seed"], tuple(names)) for names in design["streams"])
    cohort = Cohort(tuple(design["names"]), members, streams)
    if members.shape[1] < spec["training"]["batch"]:
        raise StudyError(f"training.batch is {spec['training']['batch']}, a subset has {members.shape[1]} examples")

    checkpoint, log = job.out / "checkpoint.safetensors", job.out / "log.jsonl"
    log.unlink(missing_ok=True)
    state, records = _resume(checkpoint, job.identity)
    for record in records:
        append_jsonl(log, record)
    if state is None:
        first = [initial(spec["denoiser"], data.shape, spec["seed"], *stream.names) for stream in streams]
        state = State.first(stack(first))
    state = state.to(device)

    steps = spec["training"]["steps"]
    slow = not sys.stderr.isatty()
    with tqdm(total=steps, initial=state.step, desc=job.out.name, mininterval=60 if slow else 0.5) as progress:

        def on_log(record: dict) -> None:
            append_jsonl(log, record)
            records.append(record)
            progress.update(record["step"] - progress.n)

        def on_checkpoint(state: State) -> None:
            save_tensors(checkpoint, state.flat(), {"identity": job.identity, "step": state.step, "log": records})

        weights = train(
            build(spec["denoiser"], data.shape).to(device),
            state,
            cohort,
            data.images,
            alphas_cumprod(spec["diffusion"]),
            spec["training"],
            on_log=on_log,
            on_checkpoint=on_checkpoint,
        )
    save_tensors(job.out / "models.safetensors", weights, {"names": design["names"]})
    checkpoint.unlink(missing_ok=True)


def _resume(checkpoint: Path, identity: str) -> tuple[State | None, list[dict]]:
    """State and log of this job's last checkpoint, or nothing; one of another job is ignored, a damaged one refused."""
    meta = load_meta(checkpoint) if checkpoint.exists() else {}
    if meta.get("identity") != identity:
        return None, []
    return State.unflat(meta["step"], load_tensors(checkpoint, "pt")), meta["log"]


if __name__ == "__main__":
    main(run, OUTPUTS)
