"""J x and J^T u of the MLP denoiser as matrix products, all vectors at once.

A layer computes z = W a + b of its input a = (h, tau), h the hidden state and tau the time features; the state gains
silu(z). A vector x is a change (dW, db) of every layer. Forward, the changes of state and output are
    dz = dW a + db + W dh,    dh <- dh + silu'(z) dz,
and backward, with u the vector at a layer's z, its part of J^T u is (u a^T, u) and the state receives W^T u. What does
not depend on x, a and silu'(z), is computed once for all vectors. tau does not change, so W acts on h alone.

Shape letters: R rows, K vectors, P parameters, I inputs and O outputs of a layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attribution.curvature.flat import Layout
from attribution.curvature.rows import Batch
from attribution.diffusion.denoisers import MLP, time_embedding

Products = tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


@torch.no_grad()
def linearise_mlp(model: MLP, layout: Layout, batch: Batch) -> Products:
    """The outputs [R, C, H, W], x [K, P] -> J x [K, R, C, H, W], and u [K, R, C, H, W] -> J^T u [K, P]."""
    x_t, t = batch.inputs
    tau, pixels = time_embedding(t, model.time_features).to(x_t.dtype), x_t.flatten(1)  # [R, time], [R, C H W]
    layers = {"inner": model.inner} | {f"hidden.{i}": layer for i, layer in enumerate(model.hidden)}
    inputs, slopes = {}, {}  # a [R, I] and silu'(z) [R, O]
    a, h = torch.cat([pixels, tau], 1), 0
    for name, layer in layers.items():
        z = layer(a)
        gate = z.sigmoid()
        inputs[name], slopes[name] = a, gate * (1 + z * (1 - gate))
        h = h + z * gate
        a = torch.cat([h, tau], 1)
    width = h.shape[1]
    output = model.outer(a) + model.skip(tau) * pixels

    def forward(x: Tensor) -> Tensor:
        parts = layout.split(x)
        dh: Tensor | None = None
        for name, layer in layers.items():
            dz = _changed(parts, name, inputs[name])  # [K, R, O]
            if dh is not None:
                dz += dh @ layer.weight[:, :width].mT
            dz *= slopes[name]
            dh = dz if dh is None else dh.add_(dz)
        change = _changed(parts, "outer", a) + dh @ model.outer.weight[:, :width].mT
        return change.addcmul_(_changed(parts, "skip", tau), pixels).unflatten(2, x_t.shape[1:])

    def backward(u: Tensor) -> Tensor:
        u = u.flatten(2)  # [K, R, C H W]
        total = u.new_empty(len(u), layout.size)
        parts = layout.split(total)
        _receive(parts, "outer", u, a)
        _receive(parts, "skip", u * pixels, tau)
        dh = u @ model.outer.weight[:, :width]
        for name, layer in reversed(layers.items()):
            dz = dh * slopes[name]
            _receive(parts, name, dz, inputs[name])
            if layer is not model.inner:
                dh += dz @ layer.weight[:, :width]
        return total

    return output.view_as(x_t), torch.no_grad()(forward), torch.no_grad()(backward)


def _changed(parts: dict[str, Tensor], name: str, a: Tensor) -> Tensor:
    """dW a + db of every row: [K, R, O] of changes dW [K, O, I], db [K, O] and inputs a [R, I]."""
    weight, bias = parts[f"{name}.weight"], parts[f"{name}.bias"]
    return torch.baddbmm(bias.unsqueeze(1), a.expand(len(weight), -1, -1), weight.mT)


def _receive(parts: dict[str, Tensor], name: str, u: Tensor, a: Tensor) -> None:
    """Writes a layer's part of J^T u, the sum over rows of u a^T and u, in its place: u [K, R, O], a [R, I]."""
    torch.bmm(u.mT, a.expand(len(u), -1, -1), out=parts[f"{name}.weight"])
    torch.sum(u, 1, out=parts[f"{name}.bias"])
