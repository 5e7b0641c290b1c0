"""Gradients of examples: equal to vmap(grad) and to autograd one example at a time, in any batching of draws."""

import pytest
import torch

from attribution.curvature import blocks
from attribution.curvature.blocks import covered
from attribution.curvature.gradients import example_gradients, flatten, mean_gradients
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError

CLOSE = dict(rtol=1e-11, atol=1e-13)


def by_vmap(model, batch):
    """[N, *shape] of every covered parameter: torch.func.vmap(grad) of the mean loss over an example's draws."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if name in covered(model)}

    def loss(values, target, *inputs):
        return ((torch.func.functional_call(model, values, inputs) - target) ** 2).mean()

    split = [x.unflatten(0, (batch.examples, batch.draws)) for x in (batch.target, *batch.inputs)]
    return torch.func.vmap(torch.func.grad(loss), (None, *(0 for _ in split)))(parameters, *split)


@pytest.mark.parametrize(("examples", "draws"), [(1, 1), (5, 1), (4, 3), (1, 6)])
def test_equal_to_vmap(problem, examples, draws):
    # A sum over draws is wrong by the factor `draws`; draw-major rows mix examples, an error of order 1.
    model, make = problem
    batch = make(examples, draws, 1)
    expected = by_vmap(model, batch)
    separate = example_gradients(model, batch, "separate", loss_gradient)
    assert list(separate) == covered(model)
    for name, value in expected.items():
        torch.testing.assert_close(separate[name].flatten(1), value.flatten(1), **CLOSE)
    for name, value in example_gradients(model, batch, "joint", loss_gradient).items():
        parts = [expected[f"{name}.weight"].flatten(2)]
        parts += [expected[f"{name}.bias"].unsqueeze(2)] if f"{name}.bias" in expected else []
        torch.testing.assert_close(value, torch.cat(parts, 2), **CLOSE)


def test_mean_over_examples_is_the_plain_gradient(problem):
    model, make = problem
    batch = make(4, 3, 2)
    loss = ((model(*batch.inputs) - batch.target) ** 2).mean()
    parameters = [p for name, p in model.named_parameters() if name in covered(model)]
    plain = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    torch.testing.assert_close(
        flatten(example_gradients(model, batch, "separate", loss_gradient)).mean(0).norm(), plain.norm(), **CLOSE
    )


def test_norm_parameters_are_in_no_block(unet):
    model, make = unet
    names = {name for name, _ in model.named_parameters()}
    assert names - set(covered(model)) == {"norm.weight", "norm.bias"}
    gradients = example_gradients(model, make(2, 2, 0), "separate", loss_gradient)
    assert flatten(gradients).shape[1] == sum(
        p.numel() for n, p in model.named_parameters() if not n.startswith("norm")
    )


def test_other_measurements(mlp):
    """(2/D) f is the gradient of the mean squared output: D-TRAK's feature is the loss's with a target of zero."""
    model, make = mlp
    batch = make(3, 2, 0)
    zero = Batch(batch.inputs, torch.zeros_like(batch.target), 3, 2)
    found = example_gradients(model, batch, "joint", lambda f, _: 2 / f[0].numel() * f)
    torch.testing.assert_close(flatten(found), flatten(example_gradients(model, zero, "joint", loss_gradient)), **CLOSE)


def test_streams_of_draws(problem):
    # Uneven blocks of draws: an unweighted mean of block means is wrong by the spread between blocks, of order 0.1.
    model, make = problem
    batch = make(3, 7, 3)

    def draws(first, last):
        def cut(x):
            return x.unflatten(0, (3, 7))[:, first:last].flatten(0, 1)

        return Batch(tuple(map(cut, batch.inputs)), cut(batch.target), 3, last - first)

    whole = example_gradients(model, batch, "joint", loss_gradient)
    parts = mean_gradients(model, (draws(*cut) for cut in [(0, 4), (4, 5), (5, 7)]), "joint", loss_gradient)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, **CLOSE)
    with pytest.raises(StudyError, match="same examples"):
        mean_gradients(model, [make(3, 1, 0), make(2, 1, 0)], "joint", loss_gradient)
    with pytest.raises(StudyError, match="no batch"):
        mean_gradients(model, [], "joint", loss_gradient)


def test_invariance_to_chunks_and_batches_of_examples(unet, monkeypatch):
    model, make = unet
    batch = make(4, 3, 5)
    whole = flatten(example_gradients(model, batch, "joint", loss_gradient))
    for example in range(4):
        rows = slice(3 * example, 3 * example + 3)
        one = Batch(tuple(x[rows] for x in batch.inputs), batch.target[rows], 1, 3)
        torch.testing.assert_close(
            flatten(example_gradients(model, one, "joint", loss_gradient))[0], whole[example], **CLOSE
        )
    monkeypatch.setattr(blocks, "CHUNK", 1)
    torch.testing.assert_close(flatten(example_gradients(model, batch, "joint", loss_gradient)), whole, **CLOSE)


def test_single_precision_agrees(problem):
    # Rounding of float32 is about 1e-6 of the norm; a wrong layout is 1.
    model, make = problem
    batch = make(4, 3, 1)
    exact = flatten(example_gradients(model, batch, "joint", loss_gradient))
    single = Batch(tuple(x.float() for x in batch.inputs), batch.target.float(), 4, 3)
    found = flatten(example_gradients(model.float(), single, "joint", loss_gradient)).double()
    assert (found - exact).norm() < 1e-5 * exact.norm()
