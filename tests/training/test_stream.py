"""The randomness of a training step as a function of its stream and number."""

import numpy as np
import torch

from attribution.training.stream import Stream, batch

CRN = Stream(0, ("crn", 0))
OWN = Stream(0, ("own", 0, 17))
SHAPE = (1, 2, 2)


def step(number, stream=CRN, examples=20, size=5):
    return batch(stream, number, examples, size, 1000, SHAPE)


def test_pinned_values():
    positions, t, eps = step(7)
    assert positions.tolist() == [14, 13, 8, 2, 19]
    assert t.tolist() == [118, 271, 592, 843, 113]
    np.testing.assert_allclose(eps.flatten()[:3], [-0.83228707, -0.83605874, -0.03895281], rtol=3e-7)
    assert (positions.dtype, t.dtype, eps.dtype) == (torch.int64, torch.int64, torch.float32)
    assert eps.shape == (5, *SHAPE)


def test_a_step_does_not_depend_on_the_steps_before():
    forward = [step(number) for number in range(10)]
    for number in (9, 3, 0, 5):
        assert all(torch.equal(a, b) for a, b in zip(step(number), forward[number], strict=True))


def test_batches_of_an_epoch_cover_it_without_overlap():
    orders = []
    for epoch in range(4):
        positions = torch.cat([step(4 * epoch + place)[0] for place in range(4)])
        assert sorted(positions.tolist()) == list(range(20))
        orders.append(tuple(positions.tolist()))
    assert len(set(orders)) == 4  # another order each epoch


def test_a_remainder_waits_for_another_epoch():
    """22 examples in batches of 5: 20 of them an epoch, each time others. No two are left out for good."""
    left_out = []
    for epoch in range(12):
        positions = torch.cat([step(4 * epoch + place, examples=22)[0] for place in range(4)])
        assert len(set(positions.tolist())) == 20
        left_out.append(frozenset(range(22)) - set(positions.tolist()))
    assert len(set(left_out)) > 6
    assert not frozenset.intersection(*left_out)


def test_streams_differ_in_everything():
    base = step(3)
    for other in (OWN, Stream(0, ("crn", 1)), Stream(1, ("crn", 0)), Stream(0, ("own", 1, 17))):
        for mine, theirs in zip(base, step(3, other), strict=True):
            assert not torch.equal(mine, theirs)


def test_timesteps_and_noise_of_many_steps():
    parts = [step(number) for number in range(400)]
    t = torch.cat([part[1] for part in parts]).double()
    eps = torch.cat([part[2] for part in parts]).double().flatten()
    # Four standard errors of 2,000 uniform timesteps and 8,000 normal numbers.
    assert abs(t.mean() - 499.5) < 4 * 288.7 / 2000**0.5
    assert t.min() < 10
    assert 990 <= t.max() < 1000
    assert abs(eps.mean()) < 4 / 8000**0.5
    assert abs(eps.var() - 1) < 4 * (2 / 8000) ** 0.5
    assert torch.unique(eps).numel() == 8000  # no step repeats another's noise
