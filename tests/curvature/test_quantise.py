"""Eight bits: the bound on every entry, what has no range, and scores of a trained network's gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn

from attribution.curvature import ekfac, kfac
from attribution.curvature.gradients import example_gradients
from attribution.curvature.quantise import Quantised, quantise, restore, round_trip
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import relative_damping, scores
from attribution.errors import StudyError

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@pytest.mark.parametrize("per", ["example", "tensor"])
@settings(max_examples=200, deadline=None)
@given(values=arrays.arrays(np.float32, arrays.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=FLOATS))
def test_entries_are_within_half_a_step(per, values):
    """Half a step and rounding of float64. Truncation in place of rounding, or 256 levels, errs by up to a step."""
    G = torch.from_numpy(values)
    held = quantise({"w": G}, per)
    assert held.codes["w"].dtype == torch.uint8
    assert held.scale["w"].shape == ((len(G), 1, 1) if per == "example" else (1, 1, 1))
    error = (restore(held, torch.float64)["w"] - G.double()).abs()
    assert (error <= held.scale["w"] / 2 + 1e-13 * G.double().abs().max()).all()


def test_half_a_step_is_reached():
    G = torch.tensor([0.0, 0.5 - 1e-9, 0.5 + 1e-9, 254.4, 255.0]).view(1, 1, 5)
    held = quantise({"w": G}, "example")
    assert held.codes["w"].flatten().tolist() == [0, 0, 1, 254, 255]
    assert float(held.scale["w"]) == 1


@pytest.mark.parametrize("per", ["example", "tensor"])
def test_endpoints_and_constants_come_back(per):
    G = torch.stack([torch.full((2, 3), -7.25), torch.linspace(-3.0, 11.0, 6).view(2, 3)])
    found = restore(quantise({"w": G, "zero": torch.zeros(2, 1, 1)}, per), torch.float64)
    assert torch.equal(found["w"][0], G[0])  # a constant, or the minimum of both
    assert float(found["w"].max()) == pytest.approx(11, rel=1e-14)
    assert not found["zero"].any()
    if per == "example":
        assert float(found["w"][1].min()) == -3


def test_ties_of_single_precision_gradients():
    """Every second number is half-way between codes: in float32 arithmetic, errors pass half a step by 1e-5 of it."""
    G = torch.linspace(-1000, 1000, 511).float().view(1, 1, 511)
    held = quantise({"w": G}, "example")
    error = (restore(held, torch.float64)["w"] - G.double()).abs().max() / held.scale["w"].max()
    assert float(error) == pytest.approx(0.5, abs=1e-5)
    assert error <= 0.5 + 1e-13


def test_example_or_tensor():
    """An example's own scale does not depend on its neighbours; a tensor's is that of the largest of them."""
    G = torch.randn(3, 4, 5) * torch.tensor([1.0, 1e-3, 1e3]).view(3, 1, 1)
    alone = quantise({"w": G[1:2]}, "example")
    assert torch.equal(quantise({"w": G}, "example").codes["w"][1:2], alone.codes["w"])
    own, shared = (restore(quantise({"w": G}, per), torch.float64)["w"] for per in ("example", "tensor"))
    assert (own - G)[1].abs().max() < 1e-4
    assert (shared - G)[1].abs().max() > 1e-4


@pytest.mark.parametrize("per", ["example", "tensor"])
def test_round_trip_is_codes_and_back(per):
    """In the gradients' own precision, with the bound of a step / 2 and no more than 256 values an example."""
    G = {"w": torch.randn(3, 20, 30).float(), "constant": torch.full((3, 1, 2), 0.1).float()}
    found = round_trip(G, per)
    held = quantise(G, per)
    for name, part in restore(held, torch.float32).items():
        assert torch.equal(found[name], part)
    assert torch.equal(found["constant"], G["constant"])
    assert (found["w"] - G["w"]).abs().max() <= float(held.scale["w"].max()) / 2 * (1 + 1e-5)
    assert all(len(example.unique()) <= 256 for example in found["w"])
    assert not torch.equal(found["w"], G["w"])


def test_memory_is_a_quarter():
    G = {"w": torch.randn(10, 30, 40).float()}
    held = quantise(G, "example")
    size = sum(part.nbytes for field in (held.codes, held.low, held.scale) for part in field.values())
    assert size < 0.26 * G["w"].nbytes


@pytest.fixture(scope="module")
def denoiser():
    """A 64-48-64 network trained to denoise the digits at one noise level; examples of it as one batch."""
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().data[:200] / 8 - 1).float()
    model = nn.Sequential(nn.Linear(64, 48), nn.SiLU(), nn.Linear(48, 64))
    optimiser, first, last = torch.optim.Adam(model.parameters(), 3e-3), None, None
    for _ in range(600):
        eps = torch.randn(200, 64)
        loss = ((model(images + eps) - eps) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.5 * first
    eps = torch.randn(200 * 8, 64)
    return model, Batch((images.repeat_interleave(8, 0) + eps,), eps, 200, 8)


def _scores(model, batch, change):
    """EK-FAC scores of 20 queries for 180 examples whose preconditioned query gradients went through `change`."""
    options = dict(fisher="empirical", bias="joint", generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [batch], sharing="expand", **options))
    eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, [batch], basis, **options))
    damping = relative_damping(eigenvalues, 0.1)
    g = ekfac.rotate(example_gradients(model, batch, "joint", loss_gradient), basis)
    q = {name: part[:20] / (eigenvalues[name] + damping).float() for name, part in g.items()}
    ones = {name: torch.ones_like(value) for name, value in eigenvalues.items()}
    return scores(change(q), {name: part[20:] for name, part in g.items()}, ones, 0.0)


@pytest.mark.parametrize("per", ["example", "tensor"])
def test_scores_of_a_trained_network(denoiser, per):
    """Rank correlation a query with the uncompressed scores. Codes kept to their top two bits lose it."""
    exact = _scores(*denoiser, lambda q: q)
    found = _scores(*denoiser, lambda q: restore(quantise(q, per), torch.float32))

    def coarse(q):
        held = quantise(q, per)
        return restore(Quantised({k: v // 64 * 64 for k, v in held.codes.items()}, held.low, held.scale), torch.float32)

    worst, rough = (
        min(spearmanr(one, other).statistic for one, other in zip(exact, layer, strict=True))
        for layer in (found, _scores(*denoiser, coarse))
    )
    assert worst > 0.99
    assert rough < 0.9


def test_refusals():
    for bad in (torch.nan, torch.inf):
        G = torch.zeros(2, 2, 2)
        G[1, 0, 1] = bad
        with pytest.raises(StudyError, match="'w' is not finite"):
            quantise({"w": G}, "example")
    with pytest.raises(StudyError, match="overflows"):
        quantise({"w": torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64).view(1, 1, 2)}, "example")
    with pytest.raises(StudyError, match="choose example or tensor"):
        quantise({"w": torch.zeros(1, 1, 1)}, "row")
