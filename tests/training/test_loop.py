"""A cohort against plain training, one model at a time, by torch's own AdamW, clipping and a hand-made average."""

import math

import pytest
import torch

from attribution.diffusion import ensemble
from attribution.diffusion.noise import add_noise
from attribution.errors import StudyError
from attribution.training import loop
from attribution.training.loop import average, clip_each, learning_rate
from attribution.training.stream import Stream, batch

CRN = Stream(0, ("crn", 0))
OWN = Stream(0, ("own", 0, 17))
A, B = list(range(0, 16, 2)), list(range(8))  # members of two subsets, half of them shared
CLOSE = dict(rtol=1e-9, atol=1e-11)


def own(number):
    return Stream(0, ("own", 0, number))


def assert_same(stack, m, other, k):
    for name, value in stack.items():
        torch.testing.assert_close(value[m], other[name][k], **CLOSE)


def largest_gap(stack, m, k):
    return max((value[m] - value[k]).abs().max().item() for value in stack.values())


def plain(problem, rows, stream, training):
    """One model by torch alone: the trained weights and their average, name -> [...]."""
    model = problem.model()
    model.load_state_dict({name: value[0] for name, value in problem.first([stream]).params.items()})
    model.train()
    ema = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=training["weight_decay"], foreach=False)
    losses = []
    for step in range(training["steps"]):
        positions, t, eps = batch(stream, step, len(rows), training["batch"], 1000, problem.shape)
        x0 = problem.images[torch.tensor(rows)[positions]]
        for group in optimizer.param_groups:
            if step < training["warmup_steps"]:
                group["lr"] = training["learning_rate"] * (step + 1) / training["warmup_steps"]
            else:
                done = (step - training["warmup_steps"]) / (training["steps"] - training["warmup_steps"])
                low = training["final_learning_rate"]
                group["lr"] = training["learning_rate"] * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(add_noise(problem.abar, x0, t, eps), t), eps.double())
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training["clip_norm"])
        optimizer.step()
        decay = min(training["ema_decay"], (1 + step) / (10 + step))
        for name, value in model.named_parameters():
            ema[name] = decay * ema[name] + (1 - decay) * value.detach()
    return dict(model.named_parameters()), ema, losses


@pytest.mark.parametrize("clip_norm", [0.3, 1e9])
def test_a_cohort_is_plain_training(problem, clip_norm):
    """Weights, averages and losses, with clipping active and not.

    Adam divides by the gradient's size, so clipping the cohort as one shows only in how successive steps compare: 1e-3
    or more here. A step's learning rate taken one step late is of order 1.
    """
    streams = [CRN, own(1)]
    found = problem.run([A, B], streams, clip_norm=clip_norm, log_every=1)
    losses = []
    for m, (rows, stream) in enumerate(zip([A, B], streams, strict=True)):
        weights, ema, each = plain(problem, rows, stream, problem.training | {"clip_norm": clip_norm})
        losses.append(each)
        for name, value in weights.items():
            torch.testing.assert_close(found.state.params[name][m], value, **CLOSE)
            torch.testing.assert_close(found.ema[name][m], ema[name], **CLOSE)
    for record, pair in zip(found.records, zip(*losses, strict=True), strict=True):
        assert record["loss"] == pytest.approx(sum(pair) / 2, rel=1e-6)  # the log is kept in float32
        assert (record["loss_min"], record["loss_max"]) == pytest.approx((min(pair), max(pair)), rel=1e-6)


def test_companions_change_nothing(problem):
    """Other subsets, streams and places in the cohort: each model is the one trained alone."""
    streams = [own(5), CRN, own(1)]
    together = problem.run([B, A, A], streams)
    for m, rows in enumerate([B, A, A]):
        alone = problem.run([rows], [streams[m]])
        assert_same(together.ema, m, alone.ema, 0)
        assert_same(together.state.params, m, alone.state.params, 0)


def test_common_random_numbers(mlp):
    """Same members, same model. Then images such that position i of both subsets holds the same picture: the models are
    one again only if positions, t and eps are all shared.
    """
    twins = mlp.run([A, A, B], [CRN] * 3)
    assert largest_gap(twins.ema, 0, 1) < 1e-12
    assert largest_gap(twins.ema, 0, 2) > 1e-4
    images = mlp.images.clone()
    images[8:16] = images[:8]
    halves = [list(range(8)), list(range(8, 16))]
    assert largest_gap(mlp.run(halves, [CRN] * 2, images=images).ema, 0, 1) < 1e-12
    assert largest_gap(mlp.run(halves, [own(0), own(1)], images=images).ema, 0, 1) > 1e-2


def test_own_streams_differ_on_the_same_members(mlp):
    found = mlp.run([A, A], [own(0), own(1)])
    assert largest_gap(found.ema, 0, 1) > 1e-2


def test_only_members_are_seen(mlp):
    """Images outside the subset may be anything, even broken."""
    images = mlp.images.clone()
    images[1] = float("nan")
    changed = mlp.run([A], [CRN], images=images)
    assert_same(changed.ema, 0, mlp.run([A], [CRN]).ema, 0)


def test_members_enter_by_position(mlp):
    """The order of members counts, as a position stands for one: subsets are kept in ascending order."""
    found = mlp.run([A, A[::-1]], [CRN] * 2)
    assert largest_gap(found.ema, 0, 1) > 1e-4


def test_log_holds_means_since_the_last_record(mlp):
    every = mlp.run([A, B], [CRN, own(1)], log_every=1)
    some = mlp.run([A, B], [CRN, own(1)], log_every=4)
    assert [record["step"] for record in some.records] == [4, 8, 11]
    for record, window in zip(some.records, (every.records[:4], every.records[4:8], every.records[8:]), strict=True):
        assert record["loss"] == pytest.approx(sum(r["loss"] for r in window) / len(window), rel=1e-6)
        assert record["learning_rate"] == window[-1]["learning_rate"]


def test_learning_rate_ends():
    training = {"learning_rate": 0.004, "warmup_steps": 10, "final_learning_rate": 0.02, "steps": 1000}
    rates = [learning_rate(step, training) for step in range(1000)]
    assert rates[0] == pytest.approx(0.0004)
    assert rates[9] == rates[10] == 0.004
    assert rates[505] == pytest.approx(0.004 * (0.02 + 0.98 / 2))  # half way
    # The cosine is flat at its end: the last step is within (pi/2)^2 0.98 / 990^2 = 2.5e-6 of the final rate.
    assert rates[-1] == pytest.approx(0.004 * 0.02, rel=2e-4)
    assert learning_rate(1000, training) == pytest.approx(0.004 * 0.02, rel=1e-12)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_learning_rate_without_warm_up_and_with_nothing_else():
    assert learning_rate(0, {"learning_rate": 1.0, "warmup_steps": 0, "final_learning_rate": 1.0, "steps": 5}) == 1.0
    rates = [
        learning_rate(step, {"learning_rate": 1.0, "warmup_steps": 4, "final_learning_rate": 0.0, "steps": 4})
        for step in range(4)
    ]
    assert rates == [0.25, 0.5, 0.75, 1.0]


def test_clip_each_is_that_of_torch():
    """Model by model: one short, one at the limit, one long gradient, one of zeros."""
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.zeros(4, *shape) for name, shape in (("w", (3, 2)), ("b", (5,)))}
    for value in params.values():
        value.grad = torch.randn(value.shape, generator=generator)
        for m, size in enumerate((0.1, 1.0, 100.0, 0.0)):
            value.grad[m] *= size
    singles = [[value.grad[m].clone() for value in params.values()] for m in range(4)]
    clip_each(params, 1.5)
    for m, gradients in enumerate(singles):
        plain = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for value, gradient in zip(plain, gradients, strict=True):
            value.grad = gradient
        torch.nn.utils.clip_grad_norm_(plain, 1.5)
        for value, name in zip(plain, ("w", "b"), strict=True):
            torch.testing.assert_close(params[name].grad[m], value.grad, rtol=1e-6, atol=1e-7)


def test_average_by_hand():
    ema, weights = {"w": torch.tensor([1.0, 10.0])}, {"w": torch.tensor([3.0, 30.0])}
    average(ema, weights, 0.75)
    assert ema["w"].tolist() == [1.5, 15.0]
    average(ema, weights, 0.0)
    assert ema["w"].tolist() == [3.0, 30.0]


def test_the_average_starts_as_the_running_mean(mlp):
    """Decay (1 + k) / (10 + k) until ema_decay: 0.1 at the first step, so first weights are soon forgotten."""
    first = {name: value.clone() for name, value in mlp.first([CRN]).params.items()}
    found = mlp.run([A], [CRN], steps=1)
    for name, value in first.items():
        expected = 0.1 * value + 0.9 * found.state.params[name].detach()
        torch.testing.assert_close(found.ema[name], expected, rtol=1e-12, atol=1e-14)


def test_a_broken_image_names_its_model_step_and_checkpoint(mlp):
    """The step is the first whose batch holds the image; only the second and third model have it."""
    images = mlp.images.clone()
    images[5] = float("nan")  # in B, not in A
    place = B.index(5)
    batches = [batch(CRN, step, 8, 4, 1000, mlp.shape)[0].tolist() for step in range(11)]
    broken = next(step for step, positions in enumerate(batches) if place in positions)
    saved = [0]
    with pytest.raises(StudyError, match=r"training of model 1: loss at step \d+ is nan") as raised:
        mlp.run([A, B, B], [CRN] * 3, images=images, checkpoint_every=1, on_checkpoint=lambda s: saved.append(s.step))
    assert f"at step {broken} is nan; last good checkpoint: step {saved[-1]}." in str(raised.value)
    assert saved[-1] == broken
    assert "\n" not in str(raised.value)


def test_divergence_is_named(mlp):
    with pytest.raises(
        StudyError, match=r"model 0: loss at step \d is (inf|nan); last good checkpoint: step 0\. Lower"
    ):
        mlp.run([A], [CRN], learning_rate=1e200, warmup_steps=0)


def test_dropout_repeats(unet):
    """A cohort with dropout is the same again, whatever torch's global generator held before."""
    unet.denoiser = unet.denoiser | {"dropout": 0.2}
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(unet.run([A], [CRN], steps=3).ema)
    assert_same(found[0], 0, found[1], 0)
    unet.denoiser = unet.denoiser | {"dropout": 0.0}
    without = unet.run([A], [CRN], steps=3).ema
    assert max((without[name] - value).abs().max() for name, value in found[0].items()) > 1e-3


def test_dropout_masks_belong_to_the_stream(unet):
    """Twins of one stream stay twins, and a model alone is the model of the cohort: masks of the cohort's first stream
    for all, or one generator for all, are off by more than 1e-2 here."""
    unet.denoiser = unet.denoiser | {"dropout": 0.2}
    cohort = unet.run([A, B, B], [OWN, CRN, CRN], steps=5).ema
    alone = unet.run([B], [CRN], steps=5).ema
    assert max((value[1] - value[2]).abs().max() for value in cohort.values()) < 1e-5
    assert max((cohort[name][1] - value[0]).abs().max() for name, value in alone.items()) < 1e-5


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_bf16_trains_on_master_weights(kind, request):
    """Losses as in full precision to 2%, the rounding of bfloat16 being 0.4%; weights move by less than it could hold.

    Wrong code that kept the weights themselves in bfloat16 would lose steps below 1/256 of a weight: here all count.
    """
    problem = request.getfixturevalue(kind)
    runs = {
        name: problem.run([A], [CRN], **({"precision": name} if name else {}), learning_rate=1e-4)
        for name in (None, "fp32", "bf16")
    }
    whole, low = runs[None], runs["bf16"]
    for name, value in whole.ema.items():
        assert torch.equal(runs["fp32"].ema[name], value)
        assert low.ema[name].dtype == value.dtype
    assert low.records[-1]["loss"] == pytest.approx(whole.records[-1]["loss"], rel=0.02)
    assert low.records[-1]["loss"] != whole.records[-1]["loss"]
    first = problem.first([CRN]).params
    moved, expected = (
        torch.cat([(run.state.params[name] - first[name]).flatten() for name in first]) for run in (low, whole)
    )
    assert 0 < moved.abs().max() < 2e-3
    assert torch.nn.functional.cosine_similarity(moved, expected, dim=0) > 0.8


def test_models_at_once_change_nothing(problem, monkeypatch):
    """In passes of one, two or all: the same weights up to rounding; another batch would be off by 1e-3."""
    members, streams = [A, B, list(range(12, 20))], [own(0), own(1), own(2)]
    whole = problem.run(members, streams)
    passes = []

    def predict(model, params, x, t):
        passes.append(len(x))
        return ensemble.predict(model, params, x, t)

    monkeypatch.setattr(loop, "predict", predict)
    for size, expected in ((1, [1, 1, 1]), (2, [2, 1]), (5, [3])):
        passes.clear()
        found = problem.run(members, streams, at_once=size)
        assert passes[: len(expected)] == expected
        assert sum(passes) == sum(expected) * len(passes) / len(expected)
        for m in range(3):
            assert_same(found.ema, m, whole.ema, m)
