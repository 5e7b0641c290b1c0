"""Newton steps: the preconditioned gradient is a dense solve, and a small step's rise is influence."""

import pytest
import torch
from torch import nn

from attribution.curvature import ekfac, kfac, solve
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.precondition import parameters, precondition
from attribution.curvature.rows import Batch, loss_gradient
from attribution.diffusion.denoisers import build
from attribution.diffusion.parameter_kinds import parameter_kinds, trainable
from attribution.errors import StudyError
from attribution.unlearning.newton_step import newton_step


@pytest.fixture(params=["joint", "separate"])
def problem(request):
    """A convolution and a linear layer, gradients of 3 queries and an EK-FAC basis."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(18, 4)).double()
    batch = Batch((torch.randn(6, 1, 3, 3).double(),), torch.randn(6, 4).double(), examples=6, draws=1)
    choice = {"fisher": "empirical", "bias": request.param, "generator": None}
    basis = kfac.eigenbasis(kfac.accumulate(model, [batch], sharing="expand", **choice))
    eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, [batch], basis, **choice))
    gradients = {name: torch.randn(3, *value.shape).double() for name, value in eigenvalues.items()}
    return model, request.param, batch, basis, eigenvalues, gradients


def test_preconditioned_gradients_solve_the_dense_system(problem) -> None:
    """(Q diag(Lambda) Q^T + damping I)^-1 g, Q = Q_B (x) Q_A in row-major order; a transposed basis fails."""
    _, _, _, basis, eigenvalues, gradients = problem
    damping = {name: 0.3 * k for k, name in enumerate(eigenvalues, 1)}
    found = precondition(gradients, basis, eigenvalues, damping)
    for name, G in gradients.items():
        Q = torch.kron(basis.QB[name], basis.QA[name])
        F = Q @ torch.diag(eigenvalues[name].flatten()) @ Q.mT
        dense = torch.linalg.solve(F + damping[name] * torch.eye(len(F)).double(), G.flatten(1).mT).mT
        torch.testing.assert_close(found[name].flatten(1), dense, rtol=1e-9, atol=1e-12)


def test_inner_products_of_it_are_influence(problem) -> None:
    _, _, _, basis, eigenvalues, gradients = problem
    others = {name: torch.randn(5, *value.shape[1:]).double() for name, value in gradients.items()}
    found = precondition(gradients, basis, eigenvalues, 0.1)
    inner = sum(found[name].flatten(1) @ others[name].flatten(1).mT for name in found)
    rotated = (ekfac.rotate(held, basis) for held in (gradients, others))
    torch.testing.assert_close(inner, solve.scores(*rotated, eigenvalues, 0.1), rtol=1e-9, atol=1e-12)


def test_blocks_go_back_to_the_parameters_they_came_from(problem) -> None:
    """The gradients of a loss, as blocks and as autograd gives them."""
    model, bias, batch, *_ = problem
    loss = (model(*batch.inputs) - batch.target).square().mean()
    names = [name for name, _ in model.named_parameters()]
    expected = dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))
    whole = Batch(batch.inputs, batch.target, examples=1, draws=6)
    found = parameters(model, mean_gradients(model, [whole], bias, loss_gradient), bias)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value[0], expected[name], rtol=1e-9, atol=1e-12)


def test_a_step_moves_by_step_over_examples() -> None:
    params = {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    moved = newton_step(params, {"w": torch.tensor([[10.0, -20.0], [0.0, 1.0]])}, examples=5, step=0.5)
    torch.testing.assert_close(moved["w"], torch.tensor([[2.0, 0.0], [1.0, 2.1]]))
    assert set(moved) == {"w"}
    with pytest.raises(StudyError, match="a direction of v"):
        newton_step(params, {"v": torch.zeros(1, 2)}, 5, 0.5)
    with pytest.raises(StudyError, match="w is not finite; raise damping"):
        newton_step(params, {"w": torch.full((1, 2), torch.nan)}, 5, 0.5)
    with pytest.raises(StudyError, match="none of the chosen parameters has curvature"):
        newton_step(params, {}, 5, 0.5)


def test_kinds_of_the_mlp() -> None:
    model = build({"kind": "mlp", "width": 4, "depth": 3, "time_features": 2}, (1, 2, 2))
    kinds = parameter_kinds(model)
    assert kinds["inner.weight"] == "input"
    assert kinds["hidden.0.weight"] == kinds["hidden.1.bias"] == "hidden"
    assert (kinds["outer.bias"], kinds["skip.weight"]) == ("output", "time")
    assert trainable(model, ["hidden"], False) == ["hidden.0.weight", "hidden.1.weight"]
    with pytest.raises(StudyError, match="none of kind 'attention'"):
        trainable(model, ["hidden", "attention"], False)


def test_kinds_of_the_unet(unet: dict) -> None:
    """Every parameter has the kind of what it is in; a norm within attention is a norm."""
    kinds = parameter_kinds(build(unet, (1, 8, 8)))
    assert kinds["unet.conv_in.weight"] == "input"
    assert kinds["unet.conv_out.weight"] == "output"
    assert kinds["unet.conv_norm_out.weight"] == "norm"
    assert kinds["unet.time_embedding.linear_1.weight"] == "time"
    resnet, attention = "unet.down_blocks.1.resnets.0", "unet.down_blocks.1.attentions.0"
    assert (kinds[f"{resnet}.conv1.weight"], kinds[f"{resnet}.time_emb_proj.bias"]) == ("hidden", "time")
    assert (kinds[f"{attention}.to_q.weight"], kinds[f"{attention}.group_norm.weight"]) == ("attention", "norm")
    assert set(kinds.values()) == {"input", "hidden", "attention", "time", "output", "norm"}
