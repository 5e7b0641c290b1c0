"""The iteration against dense solves, and what must not change its answer."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from attribution.core.rng import torch_seed
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.curvature.flat import layout
from attribution.curvature.fresh import fresh
from attribution.curvature.iterate import Settings, State, learning_rate, relative_residual, solve, squared_residuals
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import Metric, by_moments, second_moments
from attribution.diffusion.denoisers import build
from attribution.errors import StudyError

SHAPE, T = (1, 2, 2), 20
POPULATION, ROWS = 400, 40
SETTINGS = Settings(
    steps=60,
    learning_rate=0.1,
    warmup=5,
    final=0.02,
    momentum=0.9,
    decay=0.1,
    damping=0.0,
    vectors=8,
    check_every=20,
    check_batches=20,
    tolerance=None,
)


@pytest.fixture
def small():
    """A float64 MLP denoiser: its operator on fresh rows of a fixed population, G over all of that, metric and b."""
    model = build({"kind": "mlp", "width": 5, "depth": 2, "time_features": 4}, SHAPE)
    order, abar = layout(model), torch.linspace(0.95, 0.05, T)
    population = fresh(torch.randn(60, *SHAPE), abar, POPULATION, seed=0, stream="population", step=0)

    def rows(stream, step):
        generator = torch.Generator().manual_seed(torch_seed(0, stream, step))
        chosen = torch.randperm(POPULATION, generator=generator)[:ROWS]
        inputs = tuple(part[chosen] for part in population.inputs)
        return replace(population, inputs=inputs, target=population.target[chosen], examples=ROWS)

    def operator(stream, step):
        return ggn_product(model, order, rows(stream, step), ROWS)

    G = ggn_product(model, order, population, POPULATION)(torch.eye(order.size))
    moments = second_moments(model, order, [rows("moments", step) for step in range(20)])
    return operator, G, by_moments(moments), moments.sqrt() + 1e-8, torch.randn(5, order.size)


PLAIN = Metric(lambda x, r, factor: x.add_(r, alpha=factor), lambda x: x)


def run(operator, b, metric, settings, state=None, on_check=lambda state: None):
    return solve(operator, b, metric, settings, state or State.first(b), on_check)


def preconditioned(left, b, P):
    """The residual of left = (G + R) x in the norm of P^-1, root of the mean square over right-hand sides."""
    return float((((left - b) ** 2 / P).sum(1) / (b**2 / P).sum(1)).mean()) ** 0.5


def error(x, expected):
    return float((x - expected).norm() / expected.norm())


@pytest.mark.parametrize(("decay", "damping"), [(0.1, 0.0), (0.0, 0.02), (0.1, 0.02)])
def test_approaches_the_dense_solve(small, decay, damping):
    """0.02 or less after 600 steps of 40 of 400 rows, 0.26 to 0.85 after 30; it goes on falling (0.003 after 3,000).

    R taken twice is an error of 0.49, decay without P one of 0.76 or more.
    """
    operator, G, metric, P, b = small
    R = torch.diag(decay * P) + damping * torch.eye(len(G))
    expected = torch.linalg.solve(G + R, b.mT).mT
    errors = []
    for steps in (30, 600):
        x, facts = run(operator, b, metric, replace(SETTINGS, steps=steps, decay=decay, damping=damping))
        errors.append(error(x, expected))
        assert facts["steps"] == steps
        if steps == 30:
            assert facts["residual"] == pytest.approx(preconditioned(x @ (G + R), b, P), rel=0.2)
    assert errors[0] > 0.2
    assert errors[1] < 0.05


def test_resumed_is_uninterrupted(small, tmp_path):
    """Bit for bit, through a file, at any check; with a momentum or an average that starts anew it is not."""
    operator, _, metric, _, b = small
    whole = run(operator, b, metric, SETTINGS)

    def save(state):
        save_tensors(tmp_path / f"{state.step}", state.tensors(), {"step": state.step, "trace": state.trace})

    run(operator, b, metric, SETTINGS, on_check=save)
    for step in (20, 40, 60):
        path = tmp_path / f"{step}"
        meta, tensors = load_meta(path), load_tensors(path, "pt")
        again = run(operator, b, metric, SETTINGS, State.restored(meta["step"], meta["trace"], tensors))
        assert torch.equal(again[0], whole[0])
        assert again[1] == whole[1]
    zeros = load_tensors(tmp_path / "20", "pt") | {"momentum": torch.zeros_like(b)}
    assert not torch.equal(run(operator, b, metric, SETTINGS, State.restored(20, [], zeros))[0], whole[0])


def test_right_hand_sides_do_not_know_each_other(small):
    """Fewer, in another order and in other parts: the same answers to rounding. They share rows, not numbers."""
    operator, _, metric, _, b = small
    whole, _ = run(operator, b, metric, SETTINGS)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert error(run(operator, b[order], metric, SETTINGS)[0], whole[order]) < 1e-12
    assert error(run(operator, b[1:3], metric, SETTINGS)[0], whole[1:3]) < 1e-12
    assert error(run(operator, b, metric, replace(SETTINGS, vectors=2))[0], whole) < 1e-12
    assert error(run(operator, 1e-3 * b, metric, SETTINGS)[0], 1e-3 * whole) < 1e-12


def test_rows_of_a_step_may_be_split():
    # The same rows in passes of 16, 5 and 1: 1e-12 in float64. Rows drawn pass by pass would be other ones.
    model = build({"kind": "mlp", "width": 5, "depth": 2, "time_features": 4}, SHAPE)
    order, abar, images = layout(model), torch.linspace(0.95, 0.05, T), torch.randn(60, *SHAPE)
    b = torch.randn(3, order.size)

    def answer(rows):
        def operator(stream, step):
            return ggn_product(model, order, fresh(images, abar, 16, seed=0, stream=stream, step=step), rows)

        return run(operator, b, by_moments(torch.ones(order.size)), SETTINGS)[0]

    whole = answer(16)
    assert error(answer(5), whole) < 1e-12
    assert error(answer(1), whole) < 1e-12


def test_ends_where_the_residual_is_small(small):
    operator, G, metric, P, b = small
    settings = replace(SETTINGS, steps=1000, tolerance=0.5, check_every=50)
    x, facts = run(operator, b, metric, settings)
    assert facts["steps"] < 800
    assert preconditioned(x @ (G + torch.diag(SETTINGS.decay * P)), b, P) < facts["residual_bound"] <= 0.5
    assert facts["trace"][-2]["residual_bound"] > 0.5
    # resumed at its end it takes no further step
    state = State(facts["steps"], x.clone(), x.clone(), x.clone(), facts["trace"])
    assert torch.equal(run(operator, b, metric, settings, state)[0], x)


def test_squared_residuals_are_unbiased():
    # 4,000 trials: within 5%; the square of a mean would be off by the variance over the batches, as large as itself.
    truth = torch.randn(1, 50)
    products = [truth.expand(4000, -1) + 2 * torch.randn(4000, 50) for _ in range(4)]
    rest = 2 * truth.expand(4000, -1)
    expected, found = float(truth.square().sum()), squared_residuals(products, rest, PLAIN)
    assert float(found.mean()) == pytest.approx(expected, rel=0.05)
    assert float((rest - sum(products) / 4).square().sum(1).mean()) > 1.7 * expected
    # the standard error that they give is the standard deviation over trials, to 10%, where noise does not dominate
    products = [truth.expand(4000, -1) + 0.2 * torch.randn(4000, 50) for _ in range(40)]
    found = squared_residuals(products, rest, PLAIN)
    errors = 2 * found.std(0) / 40**0.5
    assert float(errors.mean()) == pytest.approx(float(found.mean(0).std()), rel=0.1)
    with pytest.raises(StudyError, match="at least 2"):
        squared_residuals(products[:1], rest, PLAIN)


def test_a_residual_of_zeros_is_one(small):
    operator, _, metric, _, b = small
    assert relative_residual(operator, b, metric, SETTINGS, torch.zeros_like(b)) == pytest.approx((1, 1))


def test_divergence_is_named(small):
    operator, _, metric, _, b = small
    with pytest.raises(StudyError, match=r"diverges: at step \d+ a residual is .* Lower its learning rate"):
        run(operator, b, metric, replace(SETTINGS, learning_rate=100.0))
    with pytest.raises(StudyError, match="diverges: at step 0 a residual is inf"):
        run(lambda stream, step: lambda x: x + torch.nan, b, metric, SETTINGS)


def test_a_right_hand_side_of_zeros_is_answered_by_zeros(small):
    operator, _, metric, _, b = small
    b[1] = 0
    x, facts = run(operator, b, metric, SETTINGS)
    assert not x[1].any()
    assert facts["residual"] < 1


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(step, SETTINGS) for step in range(SETTINGS.steps + 1)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.002)
    assert all(before > after for before, after in pairwise(rates[5:]))
