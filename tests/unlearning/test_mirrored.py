"""Mirrored unlearning: the bound of each draw, the stop, what is left alone, and that it finds what made the query."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from attribution.errors import StudyError
from attribution.unlearning import bank as banks
from attribution.unlearning.ascent import ascend
from attribution.unlearning.check import fresh_losses
from attribution.unlearning.losses import bank_losses
from attribution.unlearning.mirrored import objective, unlearn
from attribution.unlearning.null import null_loss
from attribution.unlearning.optimiser import AdamW
from attribution.unlearning.skew import difference, skew

SETTINGS = {
    "batch": 12,
    "retain": 1.0,
    "forget": 0.2,
    "bounded": True,
    "stop": 0.95,
    "max_steps": 5,
    "learning_rate": 0.001,
    "weight_decay": 0.01,
}
BANK = {"draws": 40, "grid": "uniform", "fraction": 1.0, "shared": "all"}


def forget(world, queries, null=1.0, seed=0, on_step=None, **changes):
    arguments = world.model, world.frozen, world.trained, queries, world.images, world.abar, null
    return unlearn(*arguments, SETTINGS | changes, seed, on_step)


def scores(world, found, score=skew):
    bank = banks.draw(0, "main", BANK, world.abar, (1, 4, 4))
    before, after = [
        torch.cat(
            [
                part
                for _, part in bank_losses(
                    world.model, frozen, stack, ["m"] * count, world.images, world.names, bank, world.abar, 10**6
                )
            ],
            1,
        )
        for frozen, stack, count in (
            ({}, {name: value[None] for name, value in world.params.items()}, 1),
            (world.frozen, found.weights, len(found.steps)),
        )
    ]
    return score(before[0], after, 1e-3) if score is skew else score(before[0], after)


def test_draws_above_the_null_loss_have_no_gradient() -> None:
    """Of the draws 0.2, 0.9 and 1.5 the last is out; a bound on their mean, 0.87, would leave all three in."""
    kept = torch.tensor([[0.3, 0.5, 0.1]], requires_grad=True)
    forgotten = torch.tensor([[0.2, 0.9, 1.5]], requires_grad=True)
    value = objective(kept, forgotten, 1.0, SETTINGS)
    assert value.item() == pytest.approx(0.3 - 0.2 * (0.2 + 0.9 + 1.0) / 3)
    value.sum().backward()
    torch.testing.assert_close(forgotten.grad, torch.tensor([[-0.2 / 3, -0.2 / 3, 0.0]]))
    torch.testing.assert_close(kept.grad, torch.full((1, 3), 1 / 3))
    forgotten.grad = None
    objective(kept, forgotten, 1.0, SETTINGS | {"bounded": False}).sum().backward()
    torch.testing.assert_close(forgotten.grad, torch.full((1, 3), -0.2 / 3))


def test_with_all_draws_above_it_is_plain_training(world) -> None:
    """As with forget 0; a clamp that only changes the value would still ascend."""
    query = world.images[:1]
    bound = forget(world, query, null=1e-9, stop=2.0).weights
    plain = forget(world, query, forget=0.0, stop=2.0).weights
    free = forget(world, query, null=1e-9, stop=2.0, bounded=False).weights
    for name, value in bound.items():
        assert torch.equal(value, plain[name])
        assert not torch.allclose(value, free[name])


def test_the_objective_is_bounded_below(world) -> None:
    """J >= -forget L_null at every step; without the bound it falls below."""
    lowest = {}
    for bounded in (True, False):
        values = []

        def watch(step, active, kept, forgotten, values=values):
            values.append((kept - 0.2 * forgotten).min().item())

        changes = {"stop": 2.0, "max_steps": 60, "learning_rate": 0.02, "retain": 1.0, "bounded": bounded}
        forget(world, world.images[:2], on_step=watch, **changes)
        lowest[bounded] = min(values)
    assert lowest[True] >= -0.2


def test_frozen_weights_and_the_model_are_left_alone(world) -> None:
    before = {name: value.clone() for name, value in world.params.items()}
    found = forget(world, world.images[:2])
    assert set(found.weights) == set(world.trained)
    assert all(torch.equal(world.params[name], value) for name, value in before.items())
    assert all(torch.equal(value, before[name]) for name, value in world.model.named_parameters())
    assert not world.model.training
    assert all(not torch.equal(found.weights[name][0], before[name]) for name in found.weights)


def test_stop_returns_the_model_that_met_it(world) -> None:
    """No further step: the weights are those of as many steps without the test, and of the query alone."""
    seen = {}

    def watch(step, active, kept, forgotten):
        for m, value in zip(active.tolist(), forgotten.tolist(), strict=True):
            seen.setdefault(m, []).append(value)

    queries, changes = world.images[[0, 3, 10]], {"stop": 0.5, "max_steps": 400, "learning_rate": 0.003, "forget": 1.0}
    found = forget(world, queries, on_step=watch, **changes)
    assert found.reached.all()
    assert len(set(found.steps.tolist())) > 1  # they leave the stack one by one
    for m, steps in enumerate(found.steps.tolist()):
        assert steps == next(k for k, value in enumerate(seen[m]) if value >= 0.5)
        assert len(seen[m]) == steps + 1
        assert found.forget[m].item() == pytest.approx(seen[m][-1], rel=1e-6)
        alone = forget(world, queries[m : m + 1], **(changes | {"stop": 2.0, "max_steps": steps}))
        for name, value in alone.weights.items():
            torch.testing.assert_close(found.weights[name][m], value[0], rtol=1e-8, atol=1e-10)


def test_the_cap_and_no_step_are_told(world) -> None:
    capped = forget(world, world.images[:1], max_steps=3)
    assert (capped.steps.item(), capped.reached.item()) == (3, False)
    at_once = forget(world, world.images[:1], stop=1e-9)
    assert (at_once.steps.item(), at_once.reached.item()) == (0, True)
    assert scores(world, at_once).abs().max() < 1e-12


def test_too_few_examples_and_runaway_losses_are_refused(world) -> None:
    with pytest.raises(StudyError, match="batch is 13, the training set has 12"):
        forget(world, world.images[:1], batch=13)
    with pytest.raises(StudyError, match="not finite; lower learning_rate"):
        forget(world, world.images[:1], learning_rate=1e200, max_steps=50, stop=2.0)


def test_unlearning_is_unlearning_on_fresh_noise(world) -> None:
    """The query's loss rises to near the null loss where it was 0.1; the others' rises by less."""
    found = forget(world, world.images[:3], max_steps=800, learning_rate=0.01, forget=1.0)
    assert found.reached.all()
    stacks = {name: value.expand(3, *value.shape) for name, value in world.trained.items()}
    queries, rest = world.images[:3], world.images[3:]
    checked = [
        fresh_losses(world.model, world.frozen, stack, queries, rest, world.abar, 1.0, 7)
        for stack in (stacks, found.weights)
    ]
    (query_before, rest_before), (query_after, rest_after) = checked
    assert (query_before < 0.5).all()
    assert (query_after > 0.85).all()
    assert ((rest_after - rest_before) < 0.7 * (query_after - query_before)).all()


def test_a_planted_example_ranks_itself_first(world) -> None:
    """Every training example as its own query; the two equal ones share the first two places."""
    found = forget(world, world.images, max_steps=15, learning_rate=0.003)
    ranks = scores(world, found).argsort(1, descending=True)
    assert ranks[:10, 0].tolist() == list(range(10))
    for twin in (10, 11):
        assert set(ranks[twin, :2].tolist()) == {10, 11}
    assert (scores(world, found)[:, 10] - scores(world, found)[:, 11]).abs().max() < 1e-12


def test_one_small_step_is_a_directional_derivative(world) -> None:
    """skew / step -> 1/S sum grad l . d / (2 t + floor), d the query's gradient; the error shrinks with the step."""
    bank = banks.draw(0, "main", BANK, world.abar, (1, 4, 4))

    def losses(weights):
        stack = {name: value[None] for name, value in weights.items()}
        arguments = world.model, world.frozen, stack, ["m"], world.images, world.names, bank, world.abar, 10**6
        return torch.cat([part for _, part in bank_losses.__wrapped__(*arguments)], 1)[0]

    errors = []
    for size in (1e-3, 1e-4):
        settings = {"batch": 12, "optimiser": "sgd", "steps": 1, "learning_rate": size}
        found = ascend(world.model, world.frozen, world.trained, world.images[:1], world.abar, 1.0, settings, 0)
        d = {name: (value[0] - world.trained[name]) / size for name, value in found.weights.items()}
        t, slope = torch.func.jvp(losses, (world.trained,), (d,))
        expected = (slope / (2 * t + 1e-3)).mean(1)
        errors.append(((scores(world, found)[0] / size - expected).abs().max() / expected.abs().max()).item())
    assert errors[1] < 1e-2
    assert errors[1] < 0.2 * errors[0]


def test_first_order_ranks_follow_the_gradients(world) -> None:
    """Differences after one small ascent step are inner products of gradients: plain influence without curvature."""
    settings = {"batch": 600, "optimiser": "sgd", "steps": 1, "learning_rate": 1e-4}
    found = ascend(world.model, world.frozen, world.trained, world.images[:4], world.abar, 1.0, settings, 0)
    d = {name: value - world.trained[name] for name, value in found.weights.items()}
    assert all(math.isfinite(value.norm().item()) and value.norm() > 0 for value in d.values())
    gradients = []
    for n in range(12):
        one = ascend(world.model, world.frozen, world.trained, world.images[n : n + 1], world.abar, 1.0, settings, 1)
        gradients.append(torch.cat([(one.weights[k][0] - world.trained[k]).flatten() for k in world.trained]))
    moves = torch.stack([torch.cat([d[k][q].flatten() for k in world.trained]) for q in range(4)])
    inner = moves @ torch.stack(gradients).mT
    rise = scores(world, found, difference)
    assert all(spearmanr(inner[q], rise[q]).statistic > 0.8 for q in range(4))


def test_adamw_is_that_of_torch() -> None:
    """Two models, five steps, one of them leaves after three."""
    generator = torch.Generator().manual_seed(4)
    first = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    steps = torch.randn(5, 2, 3, generator=generator, dtype=torch.float64)
    expected = first.clone().requires_grad_()
    optimiser = torch.optim.AdamW([expected], lr=0.1, weight_decay=0.05)
    for gradient in steps:
        expected.grad = gradient
        optimiser.step()
    ours, weights = AdamW(0.1, 0.05), {"w": first.clone()}
    for number, gradient in enumerate(steps):
        if number == 3:
            weights = {"w": weights["w"][1:]}
            ours.keep(torch.tensor([1]))
        ours.update(weights, {"w": gradient[1:] if number >= 3 else gradient})
    torch.testing.assert_close(weights["w"][0], expected.detach()[1])


def test_null_loss_of_a_zero_output_is_one(world) -> None:
    """Monte Carlo within 1%: of first weights with the last layer and gate at zero; a trained model is below."""

    class Zero(torch.nn.Module):
        def forward(self, x, t):
            return torch.zeros_like(x)

    assert null_loss("unit", Zero(), world.images, world.abar, 0) == 1.0
    assert null_loss("fresh", Zero(), world.images, world.abar, 0) == pytest.approx(1.0, rel=0.01)
    assert null_loss("fresh", world.model, world.images, world.abar, 0) < 0.5
    with pytest.raises(StudyError, match=r"unlearning.null_loss: 'zero'"):
        null_loss("zero", Zero(), world.images, world.abar, 0)


def test_ascent_needs_a_known_optimiser(world) -> None:
    settings = {"batch": 4, "optimiser": "rmsprop", "steps": 1, "learning_rate": 0.1}
    with pytest.raises(StudyError, match="optimiser: 'rmsprop'"):
        ascend(world.model, world.frozen, world.trained, world.images[:1], world.abar, 1.0, settings, 0)
