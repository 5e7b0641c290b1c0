"""Sampling an averaged ensemble: against a plain loop, for any choice of members; its derivatives in their weights."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from attribution.diffusion import ensemble_sampler
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import member, stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError

MLP = {"kind": "mlp", "width": 7, "depth": 2, "time_features": 4}
DIFFUSION = {"timesteps": 40, "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2}
SHAPE, M, G = (1, 3, 3), 6, 4


def double(params):
    return {name: value.double() for name, value in params.items()}


@pytest.fixture
def setting():
    """Model, float64 weights of M members, a chain of 8 steps and its noise."""
    params = double(stack([initial(MLP, SHAPE, 0, "averaged", j) for j in range(M)]))
    chain = ensemble_sampler.chain(DIFFUSION, 8)
    noise = ensemble_sampler.exogenous(chain, 0, [f"sample/{g}" for g in range(G)], SHAPE).double()
    return build(MLP, SHAPE), params, chain, noise


@pytest.fixture
def retained():
    """Every way to keep 3 of 6 members, and 2 of other sizes."""
    kept = torch.tensor([[bool(word >> j & 1) for j in range(M)] for word in range(1, 64)])
    return torch.cat([kept[kept.sum(1) == 3], kept[[0, 62]]])


def by_hand(model, params, noise, weights, steps):
    """Ancestral sampling as Ho et al. write it: the posterior of the predicted clean image, one image set at a time."""
    abar = alphas_cumprod(DIFFUSION).double()
    ratio = DIFFUSION["timesteps"] // steps
    x = noise[0]
    for k, t in enumerate(range((steps - 1) * ratio, -1, -ratio)):
        times = torch.full((len(x),), t)
        outputs = [functional_call(model, member(params, j), (x, times)) for j in range(M)]
        eps = sum(w * out for w, out in zip(weights, outputs, strict=True))
        a, b = abar[t], abar[t - ratio] if t >= ratio else torch.tensor(1.0, dtype=torch.float64)
        alpha = a / b
        clean = (x - (1 - a).sqrt() * eps) / a.sqrt()
        mean = b.sqrt() * (1 - alpha) / (1 - a) * clean + alpha.sqrt() * (1 - b) / (1 - a) * x
        x = mean + ((1 - b) / (1 - a) * (1 - alpha)).sqrt() * noise[k + 1]
    return x


def test_samples_are_those_of_a_plain_loop(setting, retained):
    """Choices of unequal sizes in one call. A mean over all members instead of the retained would be off by 1e-2."""
    model, params, chain, noise = setting
    found = ensemble_sampler.sample(model, params, chain, noise, retained, 10_000)
    weights = retained.double() / retained.sum(1, keepdim=True)
    every = by_hand(model, params, noise, [1 / M] * M, 8).clamp(-1, 1)
    for row, image in zip(weights, found, strict=True):
        expected = by_hand(model, params, noise, row.tolist(), 8).clamp(-1, 1)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-11)
    assert (found[:20] - every).abs().amax((1, 2, 3, 4)).min() > 1e-2


def test_all_timesteps_are_full_ddpm(setting):
    model, params, _, _ = setting
    chain = ensemble_sampler.chain(DIFFUSION, 40)
    assert chain.t == tuple(range(39, -1, -1))
    noise = ensemble_sampler.exogenous(chain, 0, ["a"], SHAPE).double()
    found = ensemble_sampler.sample(model, params, chain, noise, torch.ones(1, M, dtype=torch.bool), 100)[0]
    torch.testing.assert_close(found, by_hand(model, params, noise, [1 / M] * M, 40).clamp(-1, 1), rtol=0, atol=1e-10)


def test_too_many_steps_are_refused():
    with pytest.raises(StudyError, match="41 sampling steps"):
        ensemble_sampler.chain(DIFFUSION, 41)


def test_strides_of_the_studies():
    chain = ensemble_sampler.chain({**DIFFUSION, "timesteps": 1000}, 50)
    assert chain.t[:2] == (980, 960)
    assert chain.t[-1] == 0
    assert chain.sigma[-1] == 0


@pytest.mark.parametrize("batch", [1, M * G, 7 * M * G])
def test_batch_sizes_are_memory_only(setting, retained, batch):
    """In float32, as studies compute: rounding, not the 1e-2 between choices."""
    model, params, chain, noise = setting
    params, noise = {k: v.float() for k, v in params.items()}, noise.float()
    one, two = (ensemble_sampler.sample(model, params, chain, noise, retained, b) for b in (10_000, batch))
    torch.testing.assert_close(one, two, rtol=0, atol=2e-5)


def test_ablating_nobody_is_the_factual_sample_bit_for_bit(setting):
    """A code row of zeros keeps all members; so does the choice of all."""
    model, params, chain, noise = setting
    nobody = ~torch.zeros(1, M, dtype=torch.bool)
    every = torch.ones(1, M, dtype=torch.bool)
    one, two = (ensemble_sampler.sample(model, params, chain, noise, kept, 1000) for kept in (nobody, every))
    assert torch.equal(one, two)


def test_members_that_left_have_no_say_bit_for_bit(setting, retained):
    """Not a number in the weights of members that left: padding or a weight of 0 would let it through."""
    model, params, chain, noise = setting
    kept = retained[:1]
    before = ensemble_sampler.sample(model, params, chain, noise, kept, 1000)
    spoilt = {k: v.clone() for k, v in params.items()}
    for value in spoilt.values():
        value[~kept[0]] = float("nan")
    after = ensemble_sampler.sample(model, spoilt, chain, noise, kept, 1000)
    assert before.isfinite().all()
    assert torch.equal(after, before)


def test_no_member_is_refused(setting):
    model, params, chain, noise = setting
    kept = torch.tensor([[True] * M, [False] * M])
    with pytest.raises(StudyError, match="choice 1 keeps no member"):
        ensemble_sampler.sample(model, params, chain, noise, kept, 100)


def test_the_order_of_members_does_not_matter(setting, retained):
    model, params, chain, noise = setting
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    one = ensemble_sampler.sample(model, params, chain, noise, retained, 1000)
    two = ensemble_sampler.sample(
        model, {k: v[order] for k, v in params.items()}, chain, noise, retained[:, order], 1000
    )
    torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_identical_members_have_radius_zero(setting, retained):
    model, params, chain, noise = setting
    same = {k: v[:1].expand_as(v).contiguous() for k, v in params.items()}
    found = ensemble_sampler.sample(model, same, chain, noise, retained, 1000)
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=0, atol=1e-12)


@pytest.fixture
def tame(setting):
    """Weak answers to weak noise: no pixel is clipped."""
    model, params, chain, noise = setting
    weak = {k: v * (0.1 if k.startswith(("outer", "skip")) else 1) for k, v in params.items()}
    return model, weak, chain, noise * 1e-2


def test_jacobian_by_finite_differences(tame):
    """Central differences of the plain loop in each member's weight, others as they are."""
    model, params, chain, noise = tame
    factual, moved = ensemble_sampler.tangents(model, params, chain, noise)
    torch.testing.assert_close(factual, by_hand(model, params, noise, [1 / M] * M, 8), rtol=0, atol=1e-11)
    assert factual.abs().max() < 1
    for j in range(M):
        ends = []
        for step in (1e-5, -1e-5):
            weights = [1 / M + step * (i == j) for i in range(M)]
            ends.append(by_hand(model, params, noise, weights, 8))
        expected = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close(moved[j], expected, rtol=1e-6, atol=1e-8)
    assert moved.abs().max() > 1e-2


def test_clipped_pixels_do_not_move(setting):
    model, params, chain, noise = setting
    factual, moved = ensemble_sampler.tangents(model, params, chain, noise * 5)
    clipped = factual.abs() == 1
    assert clipped.any()
    assert not clipped.all()
    assert (moved[:, clipped] == 0).all()


def test_first_order_is_right_to_first_order(tame, retained):
    """Members that differ by h: the error of first order falls as h^2, its size as h."""
    model, params, chain, noise = tame
    kept = retained[:20]
    delta = kept.double() / kept.sum(1, keepdim=True) - 1 / M
    errors = []
    for h in (1e-1, 1e-2):
        near = {k: v.mean(0, keepdim=True) + h * (v - v.mean(0, keepdim=True)) for k, v in params.items()}
        factual, moved = ensemble_sampler.tangents(model, near, chain, noise)
        exact = ensemble_sampler.sample(model, near, chain, noise, kept, 1000) - factual
        guess = torch.einsum("am,mgchw->agchw", delta, moved)
        errors.append(((exact - guess).norm() / exact.norm()).item())
    assert errors[1] < errors[0] / 5
    assert errors[1] < 0.02


def test_noise_depends_on_the_sample_alone():
    chain = ensemble_sampler.chain(DIFFUSION, 3)
    one, two = (ensemble_sampler.exogenous(chain, 0, names, SHAPE) for names in (["a", "b"], ["b"]))
    assert one.shape == (4, 2, *SHAPE)
    assert torch.equal(one[:, 1:], two)
    assert len(np.unique(one.numpy())) == one.numel()
