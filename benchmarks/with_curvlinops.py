"""curvlinops 3.0.1 on the same problem: EK-FAC factors, and for the check of agreement scores by its inverse.

It knows layers, no norms: it is given the parameters that blocks hold. Its empirical Fisher of a mean over D dims is D
times the mean outer product of gradients.
"""

from pathlib import Path

import problem
import torch
from curvlinops import EKFACLinearOperator, KFACInverseLinearOperator
from torch import Tensor, nn

from attribution.curvature.blocks import covered, layers
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import loss_gradient

ROWS = 200  # at once


class Flat(nn.Module):
    """The denoiser of a dict of inputs, with an output [R, D]."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.denoiser(inputs["x"], inputs["t"]).flatten(1)


def factors(model: nn.Module, folder: Path, fisher: str = "mc") -> EKFACLinearOperator:
    """EK-FAC factors and eigenvalues, held by the operator."""
    batches = problem.cut(problem.singly(problem.rows("train")), ROWS)
    operator = EKFACLinearOperator(
        Flat(model),
        nn.MSELoss(reduction="mean"),
        [model.get_parameter(name) for name in covered(model)],
        [({"x": batch.inputs[0], "t": batch.inputs[1]}, batch.target.flatten(1)) for batch in batches],
        batch_size_fn=lambda inputs: len(inputs["t"]),
        check_deterministic=False,
        fisher_type=fisher,
        kfac_approx="expand",
        separate_weight_and_bias=False,
        num_per_example_loss_terms=1,
    )
    operator.compute_kronecker_factors()
    operator.compute_eigenvalue_correction()
    return operator


def ekfac_scores(model: nn.Module, folder: Path) -> Tensor:
    """[Q, N] scores with the empirical Fisher; the query gradients are this project's, the inverse is not."""
    operator = factors(model, folder, "empirical")
    dims = problem.SHAPE[1] * problem.SHAPE[2]
    q, g = (example_gradients(model, problem.rows(part), "joint", loss_gradient) for part in ("queries", "train"))
    mean = float(operator.trace) / sum(block[0].numel() for block in q.values())
    inverse = KFACInverseLinearOperator(operator, damping=problem.DAMPING * mean, use_exact_damping=True)
    vectors = []
    for name, layer in layers(model).items():
        columns = q[name].movedim(0, -1)  # [O, J, Q]
        size = layer.weight[0].numel()
        vectors.append(columns[:, :size].reshape(*layer.weight.shape, -1))
        vectors += [columns[:, size]] if layer.bias is not None else []
    with torch.no_grad():
        solved = dict(zip(covered(model), inverse @ vectors, strict=True))
    total = 0
    for name, layer in layers(model).items():
        weight = g[name][:, :, : layer.weight[0].numel()]
        total = total + weight.flatten(1) @ solved[f"{name}.weight"].flatten(0, -2)  # [N, Q]
        if layer.bias is not None:
            total = total + g[name][:, :, -1] @ solved[f"{name}.bias"]
    return dims * total.mT
