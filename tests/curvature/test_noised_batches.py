"""Rows of keyed noise: one row at a time from the draws' definition, whatever the batches, groups and first draw."""

import pytest
import torch

from attribution.curvature.noised_batches import batches, by_examples, tiled
from attribution.diffusion.elbo import schedule
from attribution.diffusion.noise import draws
from attribution.errors import StudyError

SHAPE, N, E, T = (1, 2, 2), 5, 6, 50
CHAIN = schedule({"timesteps": T, "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2}, 17)
NAMES = [f"example/{number}" for number in range(N)]
BATCHES = [1, 4, 6, 13, 1000]


@pytest.fixture
def images():
    return torch.linspace(-1, 1, N * 4).view(N, *SHAPE)


def choice(batch, count=E):
    return {"seed": 0, "stream": "s", "count": count, "batch": batch}


def expected(images, first=0, only=None):
    """x_t, t, eps and eta of every (example, draw), one at a time, [N E, ...]."""
    found = []
    for image, name in zip(images, NAMES, strict=True):
        for e in range(first, first + E):
            t, eps = (part[0, 0] for part in draws(0, "s", [name], e, e + 1, T, SHAPE))
            t = t if only is None else torch.tensor(only)
            eta = draws(0, "s/pseudo", [name], e, e + 1, T, SHAPE)[1][0, 0]
            abar = CHAIN.abar[t]
            found.append((abar.sqrt() * image + (1 - abar).sqrt() * eps.double(), t, eps, eta))
    return [torch.stack(column) for column in zip(*found, strict=True)]


def same(drawn, rows, pseudo):
    """The batches' rows in their order are the expected ones."""
    x, t, eps, eta = rows
    torch.testing.assert_close(torch.cat([b.inputs[0] for b in drawn]), x, rtol=0, atol=1e-12)
    assert torch.equal(torch.cat([b.inputs[1] for b in drawn]), t)
    assert torch.equal(torch.cat([b.target for b in drawn]), eps)
    if pseudo:
        assert torch.equal(torch.cat([b.pseudo for b in drawn]), eta)
    else:
        assert all(b.pseudo is None for b in drawn)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("pseudo", [False, True])
def test_rows_are_the_draws(batch, pseudo, images):
    drawn = list(batches(images, NAMES, CHAIN.abar, pseudo=pseudo, **choice(batch)))
    assert max(b.rows for b in drawn) <= batch
    same(drawn, expected(images), pseudo)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("quantity", "only", "first"), [("elbo", None, 0), ("loss_at_7", 7, 0), ("loss", None, 3)])
def test_groups_hold_all_draws_of_their_examples(batch, quantity, only, first, images):
    """Also where all groups are asked for before one is read: each keeps its own images."""
    groups = list(by_examples(images, NAMES, CHAIN.abar, quantity=quantity, first=first, **choice(batch)))
    drawn = []
    for rows, group in groups:
        held = list(group)
        assert {b.examples for b in held} == {rows.stop - rows.start}
        assert sum(b.draws for b in held) == E
        drawn += held
    assert [r for rows, _ in groups for r in range(rows.start, rows.stop)] == list(range(N))
    same(drawn, expected(images, first, only), False)


@pytest.mark.parametrize("batch", BATCHES)
def test_tiles_of_a_group_cover_its_draws_once(batch):
    for rows, cuts in tiled(N, E, batch):
        assert [e for start, stop in cuts for e in range(start, stop)] == list(range(E))
        assert all((rows.stop - rows.start) * (stop - start) <= batch for start, stop in cuts)


def test_a_timestep_that_the_chain_has_not_is_refused(images):
    groups = by_examples(images, NAMES, CHAIN.abar, quantity=f"loss_at_{T}", **choice(4))
    with pytest.raises(StudyError, match="the timesteps are 0 to 49"):
        list(next(groups)[1])
