"""The draws that examples met last: batches written out by hand."""

import pytest
import torch

from attribution.curvature.replay import last_met, replayed
from attribution.errors import StudyError

SHAPE, N = (1, 2, 2), 5


def step(number, *examples):
    """A batch whose timesteps and noise tell step and example."""
    t = torch.tensor([10 * number + n for n in examples])
    return torch.tensor(examples), t, t[:, None, None, None].double().expand(-1, *SHAPE)


STEPS = [step(1, 4, 1), step(2, 3, 0), step(3, 2, 4), step(4, 0, 1), step(5, 1, 2)]


def test_the_last_meeting_counts():
    """Examples 0 and 1 are in two steps, 2 and 4 too, 3 in one far back."""
    t, eps = last_met(reversed(STEPS), N, SHAPE)
    assert t.tolist() == [40, 51, 52, 23, 34]
    assert torch.equal(eps, t[:, None, None, None].double().expand(N, *SHAPE))


def test_no_step_is_taken_that_nobody_waits_for():
    taken = []
    last_met((taken.append(meeting) or meeting for meeting in reversed(STEPS)), N, SHAPE)
    assert len(taken) == 4


def test_an_example_that_was_in_no_batch_is_refused():
    with pytest.raises(StudyError, match=r"1 of 5 examples were in no batch before the checkpoint; lower checkpoints"):
        last_met(reversed(STEPS[2:4]), 5, SHAPE)


def test_rows_are_the_images_with_that_noise():
    images, abar = torch.linspace(-1, 1, 12).view(3, *SHAPE), torch.tensor([0.81, 0.36])
    t, eps = torch.tensor([1, 0, 1]), torch.linspace(2, 3, 12).view(3, *SHAPE)
    batch = replayed(images, abar, t, eps)
    assert (batch.examples, batch.draws) == (3, 1)
    assert torch.equal(batch.inputs[1], t)
    assert torch.equal(batch.target, eps)
    for n, (signal, noise) in enumerate([(0.6, 0.8), (0.9, 0.19**0.5), (0.6, 0.8)]):
        torch.testing.assert_close(batch.inputs[0][n], signal * images[n] + noise * eps[n], rtol=0, atol=1e-7)
