"""Products with the Jacobian and the GGN: equal to the dense matrices, for every module, however they are split."""

from dataclasses import replace

import pytest
import torch

from attribution.curvature import ggn
from attribution.curvature.blocks import covered
from attribution.curvature.flat import layout, to_blocks
from attribution.curvature.gradients import flatten
from attribution.curvature.linearise import ggn_product, linearise
from attribution.curvature.rows import Batch
from attribution.diffusion.denoisers import build

SHAPE = (2, 2, 3)


@pytest.fixture(params=[1, 3], ids=["one layer", "three layers"])
def denoiser(request):
    """The MLP denoiser, whose products are written out, with rows."""
    model = build({"kind": "mlp", "width": 5, "depth": request.param, "time_features": 4}, SHAPE)
    return model, Batch((torch.randn(7, *SHAPE), torch.randint(0, 1000, (7,))), torch.randn(7, *SHAPE), 7, 1)


def jacobian(model, batch, order):
    """[R, D, P] by reverse mode, row by row."""
    values = {name: model.get_parameter(name).detach() for name in order.shapes}

    def output(values, *inputs):
        return torch.func.functional_call(model, values, tuple(part[None] for part in inputs)).flatten()

    rows = [torch.func.jacrev(output)(values, *inputs) for inputs in zip(*batch.inputs, strict=True)]
    return torch.stack([order.join(row) for row in rows])


def test_equal_to_the_dense_matrix_of_ggn(problem):
    # Both in float64: 1e-12. A lost 2/D, 1/R or layer is an error of order 1.
    model, make = problem
    batch = make(3, 2, 0)
    factors = ggn.accumulate(model, [batch], fisher="type2", bias="joint", generator=None)
    order = layout(model, covered(model))
    x = torch.randn(4, order.size)
    found = ggn_product(model, order, batch, x.size(0) + 9)(x)
    expected = flatten(to_blocks(model, x, "joint", order)) @ (factors.A["all"] / factors.rows)
    torch.testing.assert_close(flatten(to_blocks(model, found, "joint", order)), expected, rtol=1e-11, atol=1e-13)


def test_norms_are_covered_too(unet):
    model, make = unet
    batch, order = make(3, 1, 0), layout(model)
    J = jacobian(model, batch, order).flatten(0, 1)
    x = torch.randn(2, order.size)
    torch.testing.assert_close(ggn_product(model, order, batch, 3)(x), 2 / 8 / 3 * x @ J.mT @ J, rtol=1e-11, atol=1e-13)
    assert float(order.split(x @ J.mT @ J)["norm.weight"].abs().min()) > 0


def test_written_out_products_equal_the_jacobian(denoiser):
    model, batch = denoiser
    order = layout(model)
    J, at = jacobian(model, batch, order), linearise(model, order, batch)
    x, u = torch.randn(3, order.size), torch.randn(3, 7, *SHAPE)
    torch.testing.assert_close(at.output, model(*batch.inputs))
    torch.testing.assert_close(at.forward(x).flatten(2), torch.einsum("rdp,kp->krd", J, x))
    torch.testing.assert_close(at.backward(u), torch.einsum("rdp,krd->kp", J, u.flatten(2)))


def test_some_parameters_of_the_denoiser(denoiser):
    # The products that are written out are of all parameters: others must not be taken for them.
    model, batch = denoiser
    order = layout(model, ["inner.weight", "outer.bias"])
    J, at = jacobian(model, batch, order), linearise(model, order, batch)
    x = torch.randn(3, order.size)
    torch.testing.assert_close(at.forward(x).flatten(2), torch.einsum("rdp,kp->krd", J, x))


@pytest.mark.parametrize("rows", [1, 2, 6])
def test_rows_and_vectors_may_be_split_and_shuffled(problem, rows):
    model, make = problem
    batch, order = make(3, 2, 0), layout(model)
    turned = replace(batch, inputs=tuple(part.flip(0) for part in batch.inputs), target=batch.target.flip(0))
    x = torch.randn(5, order.size)
    whole, split = ggn_product(model, order, batch, 99)(x), ggn_product(model, order, turned, rows)
    torch.testing.assert_close(torch.cat([split(x[:1]), split(x[1:])]), whole, rtol=1e-11, atol=1e-13)


def test_no_graph_and_no_gradient_is_left(problem):
    model, make = problem
    order = layout(model)
    product = ggn_product(model, order, make(2, 1, 0), 99)(torch.randn(2, order.size))
    assert not product.requires_grad
    assert all(value.grad is None for value in model.parameters())
