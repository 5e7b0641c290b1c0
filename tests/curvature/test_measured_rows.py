"""Rows of quantities: gradients by plain autograd, and what a random direction measures."""

import pytest
import torch

from attribution.curvature import measured_rows
from attribution.curvature.gradients import flatten, mean_gradients
from attribution.curvature.measured_rows import Draws
from attribution.curvature.rows import Batch
from attribution.diffusion import trajectory
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.elbo import schedule
from attribution.diffusion.noise import add_noise, draws
from attribution.errors import StudyError

SHAPE, E = (1, 2, 2), 3
DENOISER = {"kind": "mlp", "width": 5, "depth": 2, "time_features": 4}
DIFFUSION = {"timesteps": 50, "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2}
SAMPLING = {"steps": 5, "eta": 1.0, "clip": True, "floor": 0.0}
NAMES = ["a", "b", "c"]
CHAIN = schedule(DIFFUSION, 17)


@pytest.fixture
def model():
    net = build(DENOISER, SHAPE)
    net.load_state_dict(initial(DENOISER, SHAPE, 0, "net"))
    return net


@pytest.fixture
def images():
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def gradients(model, measured):
    """All groups' gradients side by side, [n, P]."""
    parts = [mean_gradients(model, group, "separate", measured.output_gradient) for group in measured.groups]
    return flatten({block: torch.cat([part[block] for part in parts]) for block in parts[0]})


def autograd(model, value):
    """d value / d parameters in the order of flatten."""
    named = dict(sorted(model.named_parameters()))
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(named.values()))])


@pytest.mark.parametrize("batch", [2, 4, 100])
def test_trajectory(model, images, batch):
    path = trajectory.inferred(model, DIFFUSION, SAMPLING, 0, images, NAMES)
    steps = trajectory.steps(DIFFUSION, SAMPLING)
    found = gradients(model, measured_rows.of_trajectory(steps, path, batch))
    assert len(found) == 3
    for q in range(3):
        x, t, target = trajectory.rows(steps, path, slice(q, q + 1))
        values = trajectory.value(steps, model(x, t), t, target)
        log_probability = trajectory.log_probability(
            trajectory.Trajectory(path.states[q : q + 1], path.outputs[q : q + 1], path.t), values[None]
        )
        torch.testing.assert_close(found[q], autograd(model, -log_probability.sum()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [2, 100])
def test_journey_is_the_mean_loss_at_every_image(model, images, batch):
    path = trajectory.inferred(model, DIFFUSION, SAMPLING, 0, images, NAMES)
    clean, names = trajectory.journey(path, DIFFUSION, NAMES, clip=True)
    found = gradients(model, measured_rows.of_journey(CHAIN, clean, names, 3, Draws(0, "s", 8, batch)))
    t, eps = draws(0, "s", names, 0, 2, 50, SHAPE)  # 8 draws over 5 images: 2 of each
    x = add_noise(CHAIN.abar.float(), clean[:, None], t, eps)
    for q in range(3):
        own = slice(5 * q, 5 * q + 5)
        output = model(x[own].flatten(0, 1), t[own].flatten())
        loss = (output - eps[own].flatten(0, 1)).square().mean()
        torch.testing.assert_close(found[q], autograd(model, loss), rtol=1e-4, atol=1e-6)


def test_outputs_are_single_rows_of_random_directions(model, images):
    """Row (q, e) is J^T u at draw e of query q, with E u u^T = I / D."""
    measured = measured_rows.of_outputs(CHAIN, images, NAMES, Draws(0, "s", E, 4))
    found = gradients(model, measured)
    assert found.shape[0] == 3 * E
    t, eps = draws(0, "s", NAMES, 0, E, 50, SHAPE)
    u = draws(0, "s/pseudo", NAMES, 0, E, 50, SHAPE)[1] / 2  # sqrt of 4 dims
    x = add_noise(CHAIN.abar.float(), images[:, None], t, eps)
    for q in range(3):
        for e in range(E):
            value = (model(x[q, e][None], t[q, e][None])[0] * u[q, e]).sum()
            torch.testing.assert_close(found[q * E + e], autograd(model, value), rtol=1e-4, atol=1e-6)


def test_a_random_direction_measures_the_mean_square(images):
    """Over 4,000 directions <u, v>^2 averages to mean(v^2), to 4 standard errors of a chi square's."""
    count = 4000
    (batches,) = measured_rows.of_outputs(CHAIN, images[:1], ["x"], Draws(0, "s", count, count)).groups
    measured = measured_rows.of_outputs(CHAIN, images[:1], ["x"], Draws(0, "s", count, count))
    v = torch.tensor([1.0, -2.0, 0.5, 3.0]).view(SHAPE)
    u = measured.output_gradient(torch.zeros(count, *SHAPE), batches[0])
    found = (u * v).sum((1, 2, 3)).square().mean() / v.square().mean()
    assert abs(found - 1) < 4 * (2 / count) ** 0.5


def test_directions_measure_the_change_of_the_output(model, images):
    """Over the directions u = sqrt(D) e_d, whose u u^T averages to I, the mean of <gradient, v>^2 is |J v|^2 / D for
    any change v of the parameters: what DAS sums. A missing 1 / sqrt(D) is off by a factor of D = 4.
    """
    (batch,) = next(measured_rows.of_outputs(CHAIN, images[:1], ["x"], Draws(0, "s", 1, 1)).groups)
    dims = batch.target[0].numel()
    x, t = (part.expand(dims, *part.shape[1:]) for part in batch.inputs)
    unit = dims**0.5 * torch.eye(dims).view(dims, *SHAPE)
    single = Batch((x, t), batch.target.expand(dims, *SHAPE), dims, 1, unit.to(batch.target))
    measured = measured_rows.of_outputs(CHAIN, images[:1], ["x"], Draws(0, "s", 1, 1))
    g = flatten(mean_gradients(model, [single], "separate", measured.output_gradient)).double()  # [D, P]
    named = {name: p.detach() for name, p in sorted(model.named_parameters())}
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, batch.inputs)[0].flatten())(named)
    J = torch.cat([part.flatten(1) for part in jacobian.values()], 1).double()  # [D, P]
    v = torch.randn(J.shape[1], 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((g @ v).square().mean(0), (J @ v).square().sum(0) / dims, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_batches_change_no_order_of_the_outputs(batch, model, images):
    """Three draws of a query in two batches are still side by side."""
    base, found = (
        gradients(model, measured_rows.of_outputs(CHAIN, images, NAMES, Draws(0, "s", E, b))) for b in (4, batch)
    )
    torch.testing.assert_close(found, base, rtol=1e-4, atol=1e-6)


def test_an_unknown_quantity_is_refused(images):
    with pytest.raises(StudyError, match="quantity 'los' is not known"):
        measured_rows.of_noise("los", CHAIN, images, NAMES, Draws(0, "s", 2, 4))
