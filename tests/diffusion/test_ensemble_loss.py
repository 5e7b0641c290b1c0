"""The loss of an averaged ensemble as a quadratic form: against the loss itself, and whatever the batch."""

import pytest
import torch
from torch.func import functional_call

from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import member, stack
from attribution.diffusion.ensemble_loss import residual_products
from attribution.diffusion.noise import add_noise, alphas_cumprod, draws

MLP = {"kind": "mlp", "width": 7, "depth": 2, "time_features": 4}
DIFFUSION = {"timesteps": 40, "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2}
SHAPE, M, Q, E = (1, 3, 3), 4, 3, 6


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_loss_of_any_weights(batch):
    """A mean of the members' losses in place of the loss of their mean would be off by their spread."""
    params = {k: v.double() for k, v in stack([initial(MLP, SHAPE, 0, "loss", j) for j in range(M)]).items()}
    model, abar = build(MLP, SHAPE), alphas_cumprod(DIFFUSION).double()
    images = torch.rand(Q, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    names = [f"q{q}" for q in range(Q)]
    settings = {"seed": 0, "stream": "s", "count": E, "batch": batch}
    products = residual_products(model, params, abar, images, names, **settings)
    t, eps = draws(0, "s", names, 0, E, 40, SHAPE)
    for weights in ([0.25] * 4, [0.5, 0.5, 0, 0], [0, 0, 0, 1.0]):
        w = torch.tensor(weights, dtype=torch.float64)
        for q in range(Q):
            x = add_noise(abar, images[q].expand(E, *SHAPE), t[q], eps[q].double())
            outputs = [functional_call(model, member(params, j), (x, t[q])) for j in range(M)]
            mean = sum(a * out for a, out in zip(weights, outputs, strict=True))
            expected = (mean - eps[q]).square().mean()
            torch.testing.assert_close(w @ products[q] @ w, expected, rtol=1e-10, atol=0)
    assert products.diagonal(dim1=1, dim2=2).std(1).min() > 1e-4
