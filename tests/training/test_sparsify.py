"""Pruned weights stay at zero while a cohort is fine-tuned, and no model sees another's examples."""

import pytest
import torch

from attribution.diffusion.denoisers import initial
from attribution.training import sparsify
from attribution.training.stream import Stream

CHOICE = {"steps": 5, "learning_rate": 0.02}
STREAM = Stream(0, ("sft", 0))


def tuned(problem, members, start, masks, images=None):
    return sparsify.finetune(
        problem.model(),
        start,
        masks,
        problem.cohort(members, [STREAM] * len(members)),
        problem.images if images is None else images,
        problem.abar,
        problem.training,
        CHOICE,
        on_log=lambda record: None,
        on_checkpoint=lambda state: None,
    )


@pytest.fixture
def start(problem):
    return {name: value.double() for name, value in initial(problem.denoiser, problem.shape, 0, "x").items()}


def test_the_smallest_weights_of_each_layer_are_pruned(start):
    masks = sparsify.magnitude_masks(start, 0.25)
    assert masks.keys() == start.keys()
    for name, value in start.items():
        if value.dim() == 1:
            assert masks[name].all()
            continue
        assert int((~masks[name]).sum()) == round(0.25 * value.numel())
        if (~masks[name]).any():
            assert value[~masks[name]].abs().max() <= value[masks[name]].abs().min()


def test_pruned_weights_stay_at_zero_and_the_others_move(problem, start):
    masks = sparsify.magnitude_masks(start, 0.5)
    found = tuned(problem, [range(0, 12), range(8, 20)], start, masks)
    for name, value in found.items():
        assert (value[:, ~masks[name]] == 0).all()
        if masks[name].any() and value.dim() > 2:
            assert (value[:, masks[name]] != start[name][masks[name]]).any()


def test_nothing_pruned_is_plain_training_from_the_same_weights(problem, start):
    whole = {name: torch.ones_like(value, dtype=torch.bool) for name, value in start.items()}
    found = tuned(problem, [range(20)], start, whole)
    state = problem.first([STREAM])
    for part in (state.params, state.ema):
        part.update({name: value.clone()[None] for name, value in start.items()})
    plain = problem.run([range(20)], [STREAM], state=state, **CHOICE, warmup_steps=0)
    for name, value in plain.ema.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_garbage_in_examples_of_others_changes_no_bit(problem, start):
    masks = sparsify.magnitude_masks(start, 0.5)
    members = [range(0, 10), range(5, 15)]
    images = problem.images.clone()
    images[10:] = 7.0
    one, two = tuned(problem, members, start, masks), tuned(problem, members, start, masks, images)
    for name, value in one.items():
        assert torch.equal(value[0], two[name][0])
    assert any((value[1] != two[name][1]).any() for name, value in one.items())
