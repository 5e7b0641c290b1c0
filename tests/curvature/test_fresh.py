"""Rows of a step: a function of the step alone, uniform over examples and timesteps."""

import torch

from attribution.curvature.fresh import fresh
from attribution.diffusion.noise import add_noise

ABAR = torch.linspace(0.99, 0.01, 100)
IMAGES = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 1, 2, 2)


def rows(step, stream="solve", count=20, images=IMAGES, seed=0):
    return fresh(images, ABAR, count, seed=seed, stream=stream, step=step)


def examples(batch):
    """Which image each row was made of."""
    x_t, t = batch.inputs
    a = ABAR[t].double()[:, None, None, None]
    return ((x_t - (1 - a).sqrt() * batch.target) / a.sqrt()).mean((1, 2, 3)).round().long()


def test_a_step_has_its_own_rows():
    first, again = rows(3), rows(3)
    assert torch.equal(first.inputs[0], again.inputs[0])
    for other in (rows(4), rows(3, stream="check"), rows(3, seed=1)):
        assert not torch.equal(first.target, other.target)
        assert not torch.equal(first.inputs[1], other.inputs[1])


def test_examples_are_drawn_without_replacement():
    # With it 20 of 20 would hold 13 different ones.
    assert examples(rows(0)).sort().values.tolist() == list(range(20))
    assert len(examples(rows(0, count=13)).unique()) == 13
    assert examples(rows(0, count=50)).bincount().tolist() != [2] * 20  # two of each and ten more
    assert set(examples(rows(0, count=50)).bincount().tolist()) == {2, 3}


def test_timesteps_are_uniform_and_cover_all_levels():
    # Independent ones would leave a quarter of the steps without a row in some tenth of the levels.
    t = torch.stack([rows(step, count=40).inputs[1] for step in range(500)])
    assert all((tenth := (part // 10).bincount(minlength=10)).min() > 0 and len(tenth) == 10 for part in t)
    share = t.flatten().bincount(minlength=100) / t.numel()
    assert float((share - 0.01).abs().max()) < 0.002


def test_rows_are_noised_images_in_their_precision():
    batch = rows(0, images=IMAGES.double())
    x_t, t = batch.inputs
    assert x_t.dtype == batch.target.dtype == torch.float64
    torch.testing.assert_close(x_t, add_noise(ABAR.double(), IMAGES.double()[examples(batch)], t, batch.target))
    assert (batch.examples, batch.draws) == (20, 1)
