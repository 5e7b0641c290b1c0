"""Round trip through safetensors: what a job saves, another merges and solves with, bit for bit."""

import pytest
import torch

from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, kfac
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


def test_damaged_state_is_named():
    with pytest.raises(StudyError, match="no 'B' tensors"):
        unpack_factors({"A/a": torch.ones(1, 1)})
    with pytest.raises(StudyError, match="number of rows"):
        unpack_eigenvalues({"sums/a": torch.ones(1, 1)})
    with pytest.raises(StudyError, match="no 'QA' tensors"):
        unpack_basis({})
