"""Train the full model once more and keep its raw weights on the way: the checkpoints of TracIn and its kin.

Writes checkpoints.safetensors: parameter name -> [K, ...], after K = checkpoints.count evenly spaced steps, the last of
them training.steps. Meta holds their names ("step750"), their steps, and for each the mean learning rate of the steps
that it stands for, those since the checkpoint before.

Training is a function of the seed, so this run is that of the model which is attributed, whose averaged weights it must
end in; the receipt notes by how much they differ, relative to their norm: 0 on the same machine. The raw weights are
kept, which the gradients of training were taken at, not their average.

While it runs, resume.safetensors holds the state it would resume from and the checkpoints so far, every
training.checkpoint_every steps; it is bound to this job's identity.

Shape letters: K checkpoints.
"""

import math
import sys
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from attribution.core import device as devices
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import Stack, member, stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.training.loop import Cohort, learning_rate, train
from attribution.training.state import PARTS, State
from attribution.training.stream import Stream

OUTPUTS = {"checkpoints.safetensors": "tolerance"}
TOLERANCE = 1e-2  # rounding grows to 1e-4 in 8,000 steps of the digits study, a learning rate 1% off makes 2e-2

Kept = dict[int, dict[str, Tensor]]  # step -> weights by parameter name


def run(job: Job) -> None:
    """Resume from this job's own file if there is one, train to the end, compare, save."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    design = load_meta(job.input("subsets"))
    members = load_tensors(job.input("subsets"), "pt")["members"].to(device)
    stream = Stream(spec["seed"], tuple(design["streams"][0]))
    cohort = Cohort(tuple(design["names"]), members, (stream,))
    training, steps = spec["training"], evenly_spaced(spec["training"]["steps"], spec["checkpoints"]["count"])

    resume, every = job.out / "resume.safetensors", training["checkpoint_every"]
    state, kept = _resume(resume, job.identity)
    if state is None:
        state = State.first(stack([initial(spec["denoiser"], data.shape, spec["seed"], *stream.names)]))
    state = state.to(device)

    slow = not sys.stderr.isatty()
    with tqdm(total=steps[-1], initial=state.step, desc=job.out.name, mininterval=60 if slow else 0.5) as progress:

        def on_checkpoint(state: State) -> None:
            if state.step in steps:
                kept[state.step] = _copied(state.params)
            if state.step % every == 0:
                save_tensors(resume, _flat(state, kept), {"identity": job.identity, "step": state.step})

        averaged = train(
            build(spec["denoiser"], data.shape).to(device),
            state,
            cohort,
            data.images,
            alphas_cumprod(spec["diffusion"]),
            training | {"checkpoint_every": math.gcd(every, *steps)},
            on_log=lambda record: progress.update(record["step"] - progress.n),
            on_checkpoint=on_checkpoint,
        )
    kept[steps[-1]] = _copied(state.params)  # which training changed in place
    job.record["difference"] = _difference(averaged, job.input("model"), design["names"])
    rates = [learning_rate(step, training) for step in range(steps[-1])]
    spans = zip([0, *steps[:-1]], steps, strict=True)
    meta = {
        "names": [f"step{step}" for step in steps],
        "steps": steps,
        "learning_rates": [math.fsum(rates[first:last]) / (last - first) for first, last in spans],
    }
    save_tensors(job.out / "checkpoints.safetensors", stack([kept[step] for step in steps]), meta)
    resume.unlink(missing_ok=True)


def evenly_spaced(steps: int, count: int) -> list[int]:
    """`count` numbers of steps, evenly spaced up to rounding, the last of them `steps`."""
    return [steps * number // count for number in range(1, count + 1)]


def _copied(params: Stack) -> dict[str, Tensor]:
    """A copy of the one model's weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in member(params, 0).items()}


def _flat(state: State, kept: Kept) -> dict[str, Tensor]:
    """State and checkpoints under the names "<part>/<parameter>" and "<step>/<parameter>"."""
    return state.flat() | {f"{step}/{name}": value for step, held in kept.items() for name, value in held.items()}


def _resume(path: Path, identity: str) -> tuple[State | None, Kept]:
    """State and checkpoints of this job's file, or nothing; another job's is ignored, a damaged one refused."""
    meta = load_meta(path) if path.exists() else {}
    if meta.get("identity") != identity:
        return None, {}
    state, kept = {}, {}
    for key, value in load_tensors(path, "pt").items():
        part, name = key.split("/", 1)
        if part in PARTS:
            state[key] = value
        else:
            kept.setdefault(int(part), {})[name] = value
    return State.unflat(meta["step"], state), kept


def _difference(found: Stack, path: Path, names: list[str]) -> float:
    """|found - given| / |given| over the averaged weights of the model in the file.

    Raises StudyError where that is more than rounding explains, or the file holds other models or other parameters.
    """
    given = load_tensors(path, "pt")
    shapes = [{name: value.shape for name, value in weights.items()} for weights in (found, given)]
    if load_meta(path).get("names") != names or shapes[0] != shapes[1]:
        raise StudyError(f"{path}: is no model {', '.join(names)} of this denoiser; delete its folder and rerun")
    squares = sum((found[name].cpu() - given[name]).double().square().sum().item() for name in given)
    difference = math.sqrt(squares / sum(value.double().square().sum().item() for value in given.values()))
    if not difference <= TOLERANCE:
        raise StudyError(
            f"{path}: not the model that this training ends in, its weights are {difference:.2g} of their norm away; "
            "delete its folder and rerun"
        )
    return difference


if __name__ == "__main__":
    main(run, OUTPUTS)
