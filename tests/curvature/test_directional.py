"""Derivatives along directions and gradients in all parameters: equal to stored gradients of the same draws."""

import pytest
import torch

from attribution.curvature.blocks import covered
from attribution.curvature.directional import directional_derivatives, full_gradients
from attribution.curvature.flat import from_blocks, layout
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised_batches import by_examples
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.denoisers import build
from attribution.diffusion.elbo import schedule
from attribution.diffusion.quantities import output_gradient

DIFFUSION = {"timesteps": 50, "beta_schedule": "linear", "beta_start": 1e-3, "beta_end": 0.2}


def test_equal_to_products_with_stored_gradients(problem):
    # float64 and the same rows: 1e-12. A mean over rows in place of draws is off by the number of examples.
    model, make = problem
    order = layout(model, covered(model))
    batches = [make(4, 3, 0), make(4, 5, 1)]
    g = from_blocks(model, mean_gradients(model, batches, "joint", loss_gradient), "joint", order)
    x = torch.randn(3, order.size)
    found = directional_derivatives(model, order, batches, x, loss_gradient, 2)
    torch.testing.assert_close(found, x @ g.mT, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(full_gradients(model, order, batches, loss_gradient), g, rtol=1e-11, atol=1e-13)


def test_norms_have_gradients_too(unet):
    model, make = unet
    batch, order = make(1, 3, 0), layout(model)
    ((model(*batch.inputs) - batch.target) ** 2).flatten(1).mean(1).mean().backward()
    expected = torch.cat([value.grad.flatten() for value in model.parameters()])
    found = full_gradients(model, order, [batch], loss_gradient)
    torch.testing.assert_close(found[0], expected)
    x = torch.randn(2, order.size)
    torch.testing.assert_close(directional_derivatives(model, order, [batch], x, loss_gradient, 9)[:, 0], x @ expected)


@pytest.mark.parametrize("quantity", ["loss", "simplified_elbo", "squared_norm"])
def test_part_by_part_in_the_studys_own_draws(quantity):
    """The denoiser in float32, keyed draws in batches of any size: 1e-5 of the largest."""
    torch.set_default_dtype(torch.float32)
    model = build({"kind": "mlp", "width": 8, "depth": 2, "time_features": 4}, (1, 4, 4))
    images, chain = torch.randn(6, 1, 4, 4).clamp(-1, 1), schedule(DIFFUSION, 256)
    order, gradient = layout(model), output_gradient(quantity, chain)
    x = torch.randn(3, order.size)

    def groups(batch):
        options = dict(seed=0, stream="gradients/train", count=20, batch=batch, quantity=quantity)
        return (group for _, group in by_examples(images, range(6), chain.abar.float(), **options))

    stored = torch.cat(
        [from_blocks(model, mean_gradients(model, group, "joint", gradient), "joint", order) for group in groups(120)]
    )
    found = torch.cat([directional_derivatives(model, order, group, x, gradient, 9) for group in groups(7)], 1)
    expected = x @ stored.mT
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
