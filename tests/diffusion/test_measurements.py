"""Stacked models and their measured losses: every model, example and draw on its own, whatever it is batched with."""

import pytest
import torch
from torch.func import functional_call

from attribution.diffusion import quantities
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.elbo import schedule
from attribution.diffusion.ensemble import loaded, member, predict, stack
from attribution.diffusion.noise import alphas_cumprod, draws

SHAPE = (1, 4, 4)
M, Q, E = 3, 5, 12
CLOSE = dict(rtol=1e-11, atol=1e-13)


@pytest.fixture
def models(denoiser):
    """(module, M models, their stack), float64."""
    single = [{k: v.double() for k, v in initial(denoiser, SHAPE, 0, m).items()} for m in range(M)]
    return build(denoiser, SHAPE).double(), single, stack(single)


def images(count):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


NAMES = [f"example/{number}" for number in range(Q)]


def measured(model, params, chain, x0, names=NAMES, batch=20, count=E, stream="measurement"):
    settings = dict(seed=0, stream=stream, count=count, batch=batch)
    return quantities.measured(["loss"], chain, model, params, x0, names, **settings)["loss"]


def test_stack_and_member_are_inverse(models):
    _, single, stacked = models
    for m in range(M):
        assert all(torch.equal(member(stacked, m)[name], single[m][name]) for name in single[m])


def test_predictions_are_those_of_each_model_alone(models):
    """On shared rows and on rows of their own; a mix-up of models is off by order 1."""
    model, single, stacked = models
    x, t = images(M * 4).view(M, 4, *SHAPE), torch.arange(M * 4).view(M, 4) * 80
    own = predict(model, stacked, x, t)
    shared = predict(model, stacked, x[0], t[0])
    assert own.shape == shared.shape == (M, 4, *SHAPE)
    for m in range(M):
        torch.testing.assert_close(own[m], functional_call(model, single[m], (x[m], t[m])), **CLOSE)
        torch.testing.assert_close(shared[m], functional_call(model, single[m], (x[0], t[0])), **CLOSE)
        torch.testing.assert_close(loaded(model, single[m])(x[m], t[m]), own[m], **CLOSE)


def test_loading_is_strict(models):
    model, single, _ = models
    name = next(iter(single[0]))
    with pytest.raises(RuntimeError, match="Missing key"):
        loaded(model, {k: v for k, v in single[0].items() if k != name})


def test_gradients_stay_with_their_model(models):
    model, _, stacked = models
    params = {name: value.requires_grad_() for name, value in stacked.items()}
    predict(model, params, images(2), torch.tensor([3, 900]))[1].square().sum().backward()
    for value in params.values():
        assert not value.grad[[0, 2]].any()
    assert any(value.grad[1].any() for value in params.values())


def test_measured_loss_is_a_loop_over_examples_and_draws(models, diffusion):
    model, single, stacked = models
    abar, x0 = alphas_cumprod(diffusion).double(), images(Q)
    found = measured(model, stacked, schedule(diffusion, 17), x0)
    assert found.shape == (M, Q)
    assert found.dtype == torch.float64
    for m in range(M):
        for q in range(Q):
            total = 0.0
            for e in range(E):
                t, eps = (part[0] for part in draws(0, "measurement", [NAMES[q]], e, e + 1, 1000, SHAPE))
                a = abar[t]
                x_t = a.sqrt().view(1, 1, 1, 1) * x0[q] + (1 - a).sqrt().view(1, 1, 1, 1) * eps
                total += ((functional_call(model, single[m], (x_t, t)) - eps) ** 2).mean().item()
            torch.testing.assert_close(found[m, q].item(), total / E, **CLOSE)


def test_batch_size_changes_nothing(models, diffusion):
    model, _, stacked = models
    chain, x0 = schedule(diffusion, 17), images(Q)
    base = measured(model, stacked, chain, x0)
    for batch in (1, 7, 12, 25, 1000):
        torch.testing.assert_close(measured(model, stacked, chain, x0, batch=batch), base, **CLOSE)


def test_companions_change_nothing(models, diffusion):
    """Neither other queries nor other models: what a cohort measures is what each job alone would."""
    model, single, stacked = models
    chain, x0 = schedule(diffusion, 17), images(Q)
    base = measured(model, stacked, chain, x0)
    order = [3, 0, 4]
    some = measured(model, stacked, chain, x0[order], [NAMES[q] for q in order])
    torch.testing.assert_close(some, base[:, order], **CLOSE)
    alone = measured(model, stack(single[1:2]), chain, x0)
    torch.testing.assert_close(alone, base[1:2], **CLOSE)


def test_every_model_meets_the_same_draws(models, diffusion):
    """Twins measure the same to the last bit; with noise of their own they would differ by a tenth."""
    model, single, _ = models
    chain, x0 = schedule(diffusion, 17), images(Q)
    twins = measured(model, stack([single[0], single[1], single[0]]), chain, x0)
    torch.testing.assert_close(twins[0], twins[2], rtol=1e-13, atol=0)
    other = measured(model, stack([single[0]]), chain, x0, stream="other")
    assert ((other[0] - twins[0]).abs() / twins[0]).max() > 0.01


def test_nothing_is_kept_for_a_gradient(models, diffusion):
    model, _, stacked = models
    params = {name: value.requires_grad_() for name, value in stacked.items()}
    assert not measured(model, params, schedule(diffusion, 17), images(Q)).requires_grad
