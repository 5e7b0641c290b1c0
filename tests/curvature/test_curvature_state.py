"""Round trip through safetensors: what a job saves, another merges and solves with, bit for bit."""

import pytest
import torch

from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, ggn, kfac
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import loss_gradient
from attribution.curvature.state import pack, unpack_basis, unpack_eigenvalues, unpack_factors
from attribution.errors import StudyError


def test_round_trip(problem, tmp_path):
    model, make = problem
    batch = make(3, 2, 0)
    factors = kfac.accumulate(model, [batch], fisher="mc", sharing="expand", bias="separate", generator=None)
    basis = kfac.eigenbasis(factors)
    eigenvalues = ekfac.accumulate_eigenvalues(model, [batch], basis, fisher="mc", bias="separate", generator=None)
    unpacks = {unpack_factors: factors, unpack_basis: basis, unpack_eigenvalues: eigenvalues}
    for number, (unpack, held) in enumerate(unpacks.items()):
        save_tensors(tmp_path / f"{number}.safetensors", pack(held))
        loaded = unpack(load_tensors(tmp_path / f"{number}.safetensors", framework="pt"))
        packed = pack(held)
        assert pack(loaded).keys() == packed.keys()
        assert all(torch.equal(tensor, packed[key]) for key, tensor in pack(loaded).items())
    assert list(unpack_factors(pack(factors)).A) == list(factors.A)


def test_exact_scores_survive_a_file(unet, tmp_path):
    """A file returns blocks in its own order; the exact curvature, one block of them all, must not notice."""
    model, make = unet
    batch = make(3, 2, 0)
    factors = ggn.accumulate(model, [batch], fisher="type2", bias="separate", generator=None)
    g = example_gradients(model, batch, "separate", loss_gradient)
    save_tensors(tmp_path / "g.safetensors", g)
    loaded = load_tensors(tmp_path / "g.safetensors", framework="pt")
    turned = dict(reversed(loaded.items()))
    expected = ggn.dense_scores(g, [g], factors, [1e-3])[0]
    assert torch.equal(ggn.dense_scores(loaded, [turned], factors, [1e-3])[0], expected)


def test_damaged_state_is_named():
    with pytest.raises(StudyError, match="no 'B' tensors"):
        unpack_factors({"A/a": torch.ones(1, 1)})
    with pytest.raises(StudyError, match="number of rows"):
        unpack_eigenvalues({"sums/a": torch.ones(1, 1)})
    with pytest.raises(StudyError, match="no 'QA' tensors"):
        unpack_basis({})
