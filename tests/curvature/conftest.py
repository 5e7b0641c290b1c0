"""Small float64 networks with every kind of layer, their rows, and a dense Jacobian by torch.func alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attribution.curvature.blocks import covered, layers
from attribution.curvature.rows import Batch


class Mlp(nn.Module):
    """3 -> 4 -> 5 -> 2, SiLU, the middle layer without bias; no square weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2)

    def forward(self, x):  # [R, 3]
        return self.last(F.silu(self.middle(F.silu(self.first(x)))))


class Unet(nn.Module):
    """What a U-Net is made of, in 4x4: convolutions (one strided after asymmetric padding), norm, time, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Conv2d(2, 3, 3, padding=1)
        self.time = nn.Linear(2, 3)
        self.down = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.GroupNorm(2, 4)
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.out = nn.Linear(4, 3)
        self.outward = nn.Conv2d(3, 2, 1)

    def forward(self, x, t):  # [R, 2, 4, 4], [R]
        time = self.time(torch.stack([t.sin(), t.cos()], 1))
        h = F.silu(self.inward(x) + time[:, :, None, None])
        h = self.norm(self.down(F.pad(h, (0, 1, 0, 1))))
        tokens = h.flatten(2).mT  # [R, 4, 4]
        weights = (self.q(tokens) @ self.k(tokens).mT / 2).softmax(-1)
        h = self.out(weights @ self.v(tokens)).mT.unflatten(2, (2, 2))
        return self.outward(F.silu(h))  # [R, 2, 2, 2]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=["mlp", "unet"])
def problem(request):
    """(model, make) where make(examples, draws, seed) is a Batch for the model."""
    return _problem(request.param)


@pytest.fixture
def mlp():
    return _problem("mlp")


@pytest.fixture
def unet():
    return _problem("unet")


def _problem(kind):
    model = Mlp() if kind == "mlp" else Unet()

    def make(examples: int, draws: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(examples * draws, *shape, generator=generator)

        inputs, shape = ((normal(3),), (2,)) if kind == "mlp" else ((normal(2, 4, 4), normal()), (2, 2, 2))
        return Batch(inputs, normal(*shape), examples, draws, normal(*shape))

    return model, make


@pytest.fixture
def jacobian():
    """jacobian(model, batch, bias) -> [R, D, P], by torch.func, blocks side by side in the order of their names."""

    def dense(model, batch, bias):
        parameters = {name: p.detach() for name, p in model.named_parameters() if name in covered(model)}

        def row(values, *inputs):
            return torch.func.functional_call(model, values, tuple(x[None] for x in inputs))[0].flatten()

        parts = torch.func.vmap(torch.func.jacrev(row), (None, *(0 for _ in batch.inputs)))(parameters, *batch.inputs)
        columns = {}
        for name, layer in layers(model).items():
            weight = parts[f"{name}.weight"].flatten(3)  # [R, D, O, I]
            one = parts[f"{name}.bias"].unsqueeze(3) if layer.bias is not None else weight[..., :0]
            if bias == "joint":
                columns[name] = torch.cat([weight, one], 3).flatten(2)
            else:
                columns |= {f"{name}.weight": weight.flatten(2), f"{name}.bias": one.flatten(2)}
        return torch.cat([columns[name] for name in sorted(columns)], 2)

    return dense
