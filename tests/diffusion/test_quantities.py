"""Quantities of a row: values by hand, gradients by differences, and through a network by autograd alone."""

import math

import pytest
import torch
from torch.func import functional_call

from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.rows import Batch, loss_gradient
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.elbo import negative_elbo, prior, schedule
from attribution.diffusion.ensemble import predict, stack
from attribution.diffusion.noise import add_noise, alphas_cumprod, draws
from attribution.diffusion.quantities import QUANTITIES, differentiate, measured, output_gradient, timesteps, value
from attribution.errors import StudyError

SHAPE = (1, 4, 4)
NAMES = [f"example/{number}" for number in range(4)]
ALL = (*QUANTITIES, "loss_at_400")
CLOSE = dict(rtol=1e-10, atol=1e-12)
SHORT = {"timesteps": 8, "beta_schedule": "linear", "beta_start": 0.02, "beta_end": 0.5}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row(s, t, quantity="loss"):
    """(x0, x_t, t, eps) of images whose pixels lie inside, and at the ends, of [-1, 1], at the quantity's timesteps."""
    x0, eps, t = normal(len(t), *SHAPE).clamp(-1, 1), normal(len(t), *SHAPE, seed=1), timesteps(quantity, t, len(s))
    return x0, add_noise(s.abar, x0, t, eps), t, eps


@pytest.fixture
def models(denoiser):
    """(module, single models, their stack), float64."""
    single = [{k: v.double() for k, v in initial(denoiser, SHAPE, 0, m).items()} for m in range(3)]
    return build(denoiser, SHAPE).double(), single, stack(single)


def test_by_hand(diffusion):
    s = schedule(diffusion, 17)
    rows = row(s, torch.tensor([0, 7, 400, 999]))
    f, (x0, x_t, t, eps) = normal(4, *SHAPE, seed=5), rows
    found = {quantity: value(quantity, s, f, *rows) for quantity in QUANTITIES}
    for r in range(4):
        pairs = list(zip(f[r].flatten().tolist(), eps[r].flatten().tolist(), strict=True))
        loss = sum((a - b) ** 2 for a, b in pairs) / 16  # a sum over pixels is 16 times as large
        assert found["loss"][r].item() == pytest.approx(loss, rel=1e-12)
        assert found["squared_norm"][r].item() == pytest.approx(sum(a**2 for a, _ in pairs) / 16, rel=1e-12)
        assert found["l1_norm"][r].item() == pytest.approx(sum(abs(a) for a, _ in pairs) / 16, rel=1e-12)
        weight = s.beta[t[r]] / (2 * s.alpha[t[r]] * (1 - s.abar[t[r]]))
        assert found["simplified_elbo"][r].item() == pytest.approx(weight.item() * loss, rel=1e-12)
    torch.testing.assert_close(found["elbo"], negative_elbo(s, f, x0, x_t, t, eps), rtol=0, atol=0)
    third = [part[2:3] for part in (f, *rows)]
    assert torch.equal(value("loss_at_400", s, *third), found["loss"][2:3])
    with pytest.raises(StudyError, match="rows at other timesteps"):
        value("loss_at_400", s, f, *rows)


def test_simplified_elbo_is_what_the_bound_has_of_the_network(diffusion):
    """Beyond t = 0 the two differ by the factor T and by what no network changes."""
    s = schedule(diffusion, 17)
    rows = row(s, torch.tensor([1, 7, 400, 999]))
    outputs = normal(3, 4, *SHAPE, seed=5)
    full, simple = (value(quantity, s, outputs, *rows) for quantity in ("elbo", "simplified_elbo"))
    torch.testing.assert_close(full[0] - full[1], 1000 * (simple[0] - simple[1]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("quantity", ALL)
def test_gradient_is_the_slope(quantity, diffusion):
    """Central differences in single pixels, 1e-6: errors of 1e-9 relative, those of a lost factor of order 1."""
    s = schedule(diffusion, 17)
    rows = row(s, torch.tensor([0, 0, 7, 999]), quantity)
    f = normal(4, *SHAPE, seed=5)
    gradient = differentiate(lambda output: value(quantity, s, output, *rows), f)
    step = 1e-6
    for pixel in ((0, 0, 0), (0, 1, 3), (0, 3, 2)):
        move = torch.zeros(4, *SHAPE).double()
        move[(slice(None), *pixel)] = step
        rise = (value(quantity, s, f + move, *rows) - value(quantity, s, f - move, *rows)) / (2 * step)
        torch.testing.assert_close(gradient[(slice(None), *pixel)], rise, rtol=1e-5, atol=1e-6)
    assert not f.requires_grad


def test_gradients_of_rows_stay_apart(diffusion):
    s = schedule(diffusion, 17)
    f = normal(4, *SHAPE, seed=5)
    for quantity in ALL:
        rows = row(s, torch.tensor([0, 7, 400, 999]), quantity)
        whole = differentiate(lambda g, q=quantity, rows=rows: value(q, s, g, *rows), f)
        one = differentiate(lambda g, q=quantity, rows=rows: value(q, s, g, *(part[2:3] for part in rows)), f[2:3])
        torch.testing.assert_close(one[0], whole[2], **CLOSE)


def example_batch(diffusion, count=6, quantity="loss"):
    """(images, Batch of their first `count` draws at the quantity's timesteps)."""
    images = normal(4, *SHAPE).clamp(-1, 1)
    t, eps = draws(0, "gradients", NAMES, 0, count, 1000, SHAPE)
    t, eps = timesteps(quantity, t, 1000).flatten(), eps.double().flatten(0, 1)
    x_t = add_noise(alphas_cumprod(diffusion).double(), images.repeat_interleave(count, 0), t, eps)
    return images, Batch((x_t, t), eps, 4, count)


@pytest.mark.parametrize("quantity", ALL)
def test_parameter_gradients_are_those_of_the_measurement(quantity, models, diffusion):
    """(1/E) sum_e d value / d theta by autograd through the network alone; with D-TRAK's (2/D) J^T f among them."""
    model, single, _ = models
    s = schedule(diffusion, 17)
    images, batch = example_batch(diffusion, quantity=quantity)
    model.load_state_dict(single[0])
    found = example_gradients(model, batch, "separate", output_gradient(quantity, s))
    x_t, t = batch.inputs
    x0 = images.repeat_interleave(6, 0)
    parts = value(quantity, s, model(x_t, t), x0, x_t, t, batch.target).view(4, 6).mean(1)
    parameters = dict(model.named_parameters())
    for n in range(4):
        grads = torch.autograd.grad(parts[n], list(parameters.values()), retain_graph=True)
        for name, gradient in zip(parameters, grads, strict=True):
            if name in found:
                # The bound's clean image is recovered from x_t, to rounding times 1 / sqrt(abar_T) = 160.
                torch.testing.assert_close(found[name][n].flatten(), gradient.flatten(), rtol=1e-7, atol=1e-9)


def test_loss_and_norm_gradients_in_closed_form(models, diffusion):
    """(2/D) J^T (f - eps) and (2/D) J^T f, so they differ by (2/D) J^T eps; without 2/D they are 8 times as large.

    The softmax of diffusers' attention is float32 whatever the weights are: sums of gradients add up to 1e-7.
    """
    model, single, _ = models
    s = schedule(diffusion, 17)
    _, batch = example_batch(diffusion, 1)
    model.load_state_dict(single[0])

    def gradient(of):
        return flatten(example_gradients(model, batch, "joint", of))

    loss, norm = (gradient(output_gradient(quantity, s)) for quantity in ("loss", "squared_norm"))
    torch.testing.assert_close(loss, gradient(loss_gradient), **CLOSE)
    torch.testing.assert_close(norm, gradient(lambda f, _: 2 / 16 * f), **CLOSE)
    torch.testing.assert_close(norm - loss, gradient(lambda f, b: 2 / 16 * b.target), rtol=1e-6, atol=1e-7)
    assert (norm - loss).norm() > 0.1 * loss.norm()


@pytest.mark.parametrize("quantity", ALL)
def test_stacked_models_are_measured_as_single_ones(quantity, models, diffusion):
    model, single, stacked = models
    s = schedule(diffusion, 17)
    x0, x_t, t, eps = row(s, torch.tensor([0, 7, 400, 999]), quantity)
    found = value(quantity, s, predict(model, stacked, x_t, t), x0, x_t, t, eps)
    assert found.shape == (3, 4)
    for m in range(3):
        output = functional_call(model, single[m], (x_t, t))
        torch.testing.assert_close(found[m], value(quantity, s, output, x0, x_t, t, eps), rtol=1e-9, atol=1e-11)


def settings(batch=20, count=12):
    return dict(seed=0, stream="measurement", count=count, batch=batch)


@pytest.mark.parametrize("quantity", ["elbo", "loss_at_400"])
def test_measured_is_a_loop_over_examples_and_draws(quantity, models, diffusion):
    """With the timestep asked for in place of the keyed one, and the noise as keyed; in any batching."""
    model, single, stacked = models
    s, images = schedule(diffusion, 17), normal(4, *SHAPE).clamp(-1, 1)
    found = measured(["loss", quantity], s, model, stacked, images, NAMES, **settings())[quantity]
    for batch in (1, 5, 100):
        again = measured([quantity], s, model, stacked, images, NAMES, **settings(batch))[quantity]
        torch.testing.assert_close(again, found, rtol=1e-10, atol=0)
    for q in (0, 3):
        total = 0.0
        for e in range(12):
            t, eps = (part[0] for part in draws(0, "measurement", [NAMES[q]], e, e + 1, 1000, SHAPE))
            if quantity == "loss_at_400":
                t = torch.tensor([400])
            x_t = add_noise(s.abar, images[q][None], t, eps)
            total += value(
                quantity, s, functional_call(model, single[1], (x_t, t)), images[q][None], x_t, t, eps
            ).item()
        assert found[1, q].item() == pytest.approx(total / 12, rel=1e-9)


def test_draws_estimate_the_exhaustive_sum():
    """Of a short chain, for a linear network: every t with eps = +-sqrt(D) e_d, whose moments are those of N(0, I),
    against 4,000 keyed draws, within four standard errors; forgetting the factor T is 8 times too little.

    The decoder is not quadratic in eps: the bound is summed over t with the draws' own noise.
    """
    s = schedule(SHORT, 17)
    x0 = normal(1, *SHAPE).clamp(-0.4, 0.4)
    points = 4 * torch.cat([torch.eye(16), -torch.eye(16)]).double().view(32, *SHAPE)
    t = torch.arange(8).repeat_interleave(32)
    eps = points.repeat(8, 1, 1, 1)
    drawn_t, drawn_eps = (part[0] for part in draws(0, "s", ["x"], 0, 4000, 8, SHAPE))

    def rows(quantity, t, eps):
        x = x0.expand(len(t), -1, -1, -1)
        x_t = add_noise(s.abar, x, t, eps)
        return value(quantity, s, 0.3 * x_t, x, x_t, t, eps.double())

    for quantity in ("loss", "simplified_elbo"):
        exact, estimate = rows(quantity, t, eps).mean(), rows(quantity, drawn_t, drawn_eps)
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / math.sqrt(4000)
    by_draw = rows("elbo", drawn_t, drawn_eps)
    at_t = [rows("elbo", torch.full((500,), k), drawn_eps[:500]) for k in range(8)]
    total = sum(part.mean() for part in at_t) / 8
    assert abs(by_draw.mean() - total) < 4 * by_draw.std() / math.sqrt(500)
    simple = rows("simplified_elbo", drawn_t, drawn_eps)
    late = drawn_t > 0
    rest = (by_draw - 8 * simple - kl_constants(s)[drawn_t])[late]
    torch.testing.assert_close(rest, prior(s, x0).expand(len(rest)), **CLOSE)


def kl_constants(s):
    """T (v - 1 - log v) / 2 at each t, v the ratio of posterior variance and beta: no row changes it."""
    ratio = s.posterior_variance / s.beta
    return len(s) * (ratio - 1 - ratio.log()) / 2


def test_timesteps(diffusion):
    t = torch.tensor([[3, 999], [0, 5]])
    for quantity in QUANTITIES:
        assert torch.equal(timesteps(quantity, t, 1000), t)
    assert torch.equal(timesteps("loss_at_0", t, 1000), torch.zeros_like(t))
    assert torch.equal(timesteps("loss_at_999", t, 1000), torch.full_like(t, 999))  # counted from 0, not from 1
    with pytest.raises(StudyError, match="timesteps are 0 to 999"):
        timesteps("loss_at_1000", t, 1000)


@pytest.mark.parametrize("quantity", ["losses", "loss_at_", "loss_at_-1", "loss_at_x", "", "norm"])
def test_unknown_quantities_are_refused(quantity, diffusion):
    s = schedule(diffusion, 17)
    rows = row(s, torch.tensor([7]))
    for call in (
        lambda: value(quantity, s, rows[3], *rows),
        lambda: output_gradient(quantity, s),
        lambda: timesteps(quantity, rows[2], 1000),
    ):
        with pytest.raises(StudyError, match="is not known"):
            call()
