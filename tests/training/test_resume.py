"""A stopped and resumed run is the uninterrupted one, bit for bit, through the file that the checkpoint is kept in."""

import pytest
import torch

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.training.state import PARTS, State
from attribution.training.stream import Stream

MEMBERS = [[0, 2, 4, 6, 8], [5, 6, 7, 8, 9]]
STREAMS = [Stream(0, ("crn", 0)), Stream(0, ("own", 0, 3))]


class Killed(Exception):
    """Stands for the end of a process."""


def interrupted(problem, path, at, **changes):
    """Run until the checkpoint of step `at` is saved; the state that a new process reads."""

    def stop(state):
        save_tensors(path, state.flat(), {"step": state.step})
        if state.step == at:
            raise Killed

    with pytest.raises(Killed):
        problem.run(MEMBERS, STREAMS, on_checkpoint=stop, **changes)
    return State.unflat(load_meta(path)["step"], load_tensors(path, "pt"))


def assert_identical(one, two):
    for part in ("ema", "params"):
        left, right = getattr(one, part), getattr(two, part)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("at", [4, 8])
def test_resumed_is_uninterrupted(problem, tmp_path, at):
    """4 is in the middle of an epoch of the data, 8 past the warm-up."""
    whole = problem.run(MEMBERS, STREAMS)
    state = interrupted(problem, tmp_path / "checkpoint.safetensors", at)
    assert state.step == at
    torch.manual_seed(99)  # a new process has another global state
    rest = problem.run(MEMBERS, STREAMS, state=state)
    assert_identical(rest.state, whole.state)
    assert all(torch.equal(rest.ema[name], value) for name, value in whole.ema.items())
    assert rest.records == [record for record in whole.records if record["step"] > at]


def test_stopped_twice(mlp, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole = mlp.run(MEMBERS, STREAMS)
    state = interrupted(mlp, path, 4)

    def stop(state):
        save_tensors(path, state.flat(), {"step": state.step})
        raise Killed

    with pytest.raises(Killed):
        mlp.run(MEMBERS, STREAMS, state=state, on_checkpoint=stop)
    again = State.unflat(load_meta(path)["step"], load_tensors(path, "pt"))
    assert again.step == 8
    assert_identical(mlp.run(MEMBERS, STREAMS, state=again).state, whole.state)


def test_single_precision_with_dropout(unet, tmp_path):
    """What studies run in: float32; dropout is drawn anew from each step's number."""
    unet.denoiser = unet.denoiser | {"dropout": 0.2}
    unet.images, unet.abar = unet.images.float(), unet.abar.float()
    first = unet.first(STREAMS)
    unet.first = lambda streams: State.first({name: value.detach().float() for name, value in first.params.items()})
    whole = unet.run(MEMBERS, STREAMS)
    assert whole.ema["unet.conv_in.weight"].dtype == torch.float32
    state = interrupted(unet, tmp_path / "checkpoint.safetensors", 4)
    assert_identical(unet.run(MEMBERS, STREAMS, state=state).state, whole.state)


def test_bf16_with_dropout(unet, tmp_path):
    """What GPU studies run in: the state is float32 and holds all that a resumed run needs."""
    unet.denoiser = unet.denoiser | {"dropout": 0.2}
    whole = unet.run(MEMBERS, STREAMS, precision="bf16")
    state = interrupted(unet, tmp_path / "checkpoint.safetensors", 4, precision="bf16")
    assert_identical(unet.run(MEMBERS, STREAMS, state=state, precision="bf16").state, whole.state)


def test_every_part_of_the_state_matters(mlp, tmp_path):
    """A resume that forgot one would pass the test above only if it did not count: each one changes the result."""
    whole = mlp.run(MEMBERS, STREAMS)
    for part in PARTS:
        state = interrupted(mlp, tmp_path / "checkpoint.safetensors", 4)
        for value in getattr(state, part).values():
            value.mul_(0.5)
        rest = mlp.run(MEMBERS, STREAMS, state=state)
        assert max((rest.ema[name] - whole.ema[name]).abs().max() for name in whole.ema) > 1e-5
    state = interrupted(mlp, tmp_path / "checkpoint.safetensors", 4)
    state.step -= 1  # the bias correction of AdamW, the learning rate and the batches count steps
    rest = mlp.run(MEMBERS, STREAMS, state=state, steps=10)
    assert max((rest.ema[name] - whole.ema[name]).abs().max() for name in whole.ema) > 1e-5


def test_checkpoints_come_when_asked_and_not_at_the_end(mlp):
    seen = []
    mlp.run(MEMBERS, STREAMS, on_checkpoint=lambda state: seen.append(state.step))
    assert seen == [4, 8]
    seen.clear()
    mlp.run(MEMBERS, STREAMS, steps=8, on_checkpoint=lambda state: seen.append(state.step))
    assert seen == [4]


def test_flat_and_back(mlp, tmp_path):
    state = interrupted(mlp, tmp_path / "checkpoint.safetensors", 4)
    flat = state.flat()
    assert {key.split("/")[0] for key in flat} == set(PARTS)
    assert len(flat) == len(PARTS) * len(state.params)
    back = State.unflat(4, flat)
    for part in PARTS:
        assert getattr(back, part) == getattr(state, part)
    moved = state.to(torch.device("cpu"))
    assert moved.step == 4
    assert torch.equal(moved.exp_avg_sq["inner.weight"], state.exp_avg_sq["inner.weight"])


def test_the_first_state_averages_a_copy(mlp):
    state = mlp.first(STREAMS)
    assert (state.step, state.exp_avg, state.exp_avg_sq) == (0, {}, {})
    for name, value in state.params.items():
        assert torch.equal(state.ema[name], value)
        assert state.ema[name].data_ptr() != value.data_ptr()
