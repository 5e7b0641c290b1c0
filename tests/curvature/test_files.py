"""Gradients in files: what comes back in 32 and in 8 bits, and what a damaged file says."""

import pytest
import torch

from attribution.core.store import load_meta
from attribution.curvature.files import load_gradients, packed, save_packed
from attribution.curvature.quantise import quantise, round_trip
from attribution.errors import StudyError


def save_gradients(path, gradients, bits, meta=None):
    """All examples in one part, as a step writes them."""
    save_packed(path, [packed(gradients.items(), bits)], meta)


def gradients():
    """Three examples of very different size, one of zeros, in blocks that are files' prefixes in part of their name."""
    sizes = torch.tensor([1.0, 1e-6, 0.0]).view(3, 1, 1)
    G = {"down.conv": torch.randn(3, 40, 30) * sizes, "codes": torch.randn(3, 2, 2), "constant": torch.ones(3, 5, 1)}
    return {name: part.float() for name, part in G.items()} | {"one": torch.full((3, 1, 1), 0.1).float()}


def test_32_bits_come_back_as_they_were(tmp_path):
    G = gradients()
    save_gradients(tmp_path / "g", G, 32, {"draws": 7})
    found = load_gradients(tmp_path / "g")
    assert found.keys() == G.keys()
    assert all(torch.equal(found[name], G[name]) for name in G)
    assert load_meta(tmp_path / "g") == {"draws": 7}


def test_8_bits_come_back_within_half_a_step(tmp_path):
    """An example of size 1e-6 beside one of size 1 has a step of its own: with a common one it would be lost whole."""
    G = gradients()
    save_gradients(tmp_path / "g", G, 8, {"draws": 7})
    found, steps = load_gradients(tmp_path / "g"), quantise(G, "example").scale
    assert found.keys() == G.keys()
    for name in G:
        assert found[name].dtype == torch.float32
        assert ((found[name] - G[name]).abs() <= steps[name] / 2 * (1 + 1e-4)).all()
        assert torch.equal(found[name], round_trip(G)[name])
    assert 0 < (found["down.conv"] - G["down.conv"])[1].abs().max() < 1e-7
    for name in ("constant", "one"):
        assert torch.equal(found[name], G[name])
    assert not found["down.conv"][2].any()
    assert load_meta(tmp_path / "g") == {"draws": 7}


def test_8_bits_are_a_quarter_of_32(tmp_path):
    for bits in (8, 32):
        save_gradients(tmp_path / str(bits), {"w": torch.randn(10, 30, 40).float()}, bits)
    assert (tmp_path / "8").stat().st_size < 0.27 * (tmp_path / "32").stat().st_size


def test_an_example_does_not_depend_on_its_neighbours(tmp_path):
    """Parts of any size hold the same numbers."""
    G = gradients()
    save_gradients(tmp_path / "all", G, 8)
    save_gradients(tmp_path / "last", {name: part[1:] for name, part in G.items()}, 8)
    whole, last = load_gradients(tmp_path / "all"), load_gradients(tmp_path / "last")
    assert all(torch.equal(whole[name][1:], last[name]) for name in G)


@pytest.mark.parametrize("bits", [8, 32])
def test_damaged_files(tmp_path, bits):
    path = tmp_path / "g.safetensors"
    with pytest.raises(StudyError, match=r"g\.safetensors"):
        load_gradients(path)
    save_gradients(path, gradients(), bits)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StudyError, match=r"g\.safetensors: truncated or damaged"):
        load_gradients(path)


def test_refusals(tmp_path):
    with pytest.raises(StudyError, match="8 or 32 bits, not in 4"):
        save_gradients(tmp_path / "g", gradients(), 4)
    with pytest.raises(StudyError, match="'w' is not finite"):
        save_gradients(tmp_path / "g", {"w": torch.full((1, 1, 1), torch.nan)}, 8)
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("bits", [8, 32])
def test_a_block_is_read_when_it_is_asked_for(tmp_path, bits):
    """A whole file of a large model is more than a GPU has: names and number of blocks cost no tensor."""
    G = gradients()
    save_gradients(tmp_path / "g", G, bits)
    held = load_gradients(tmp_path / "g")
    assert set(held) == held.keys() == G.keys()
    assert len(held) == len(G)
    assert held["codes"] is not held["codes"]
    assert "down" not in held
    (tmp_path / "g").unlink()
    with pytest.raises(StudyError, match="truncated or damaged"):
        held["codes"]


@pytest.mark.parametrize("bits", [8, 32])
def test_examples_may_come_in_parts(tmp_path, bits):
    """Byte for byte the file of all together."""
    G = gradients()
    parts = [
        packed({name: part[rows] for name, part in G.items()}.items(), bits) for rows in (slice(0, 1), slice(1, 3))
    ]
    save_packed(tmp_path / "parts", parts)
    save_gradients(tmp_path / "whole", G, bits)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
