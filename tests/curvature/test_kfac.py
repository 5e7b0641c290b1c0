"""K-FAC where it is exact (and its failure where it is not), its scale, and its indifference to batching."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attribution.curvature import blocks, ggn, kfac
from attribution.curvature.rows import Batch
from attribution.errors import StudyError


def dense(model, batch, sharing, bias, fisher="type2"):
    """B (x) A of every block [O J, O J]."""
    factors = kfac.accumulate(model, [batch], fisher=fisher, sharing=sharing, bias=bias, generator=None)
    return {name: torch.kron(factors.B[name], factors.A[name]) / factors.rows**2 for name in factors.A}


def diagonal(model, batch, bias, fisher="type2"):
    """The block diagonal of the exact F."""
    factors = ggn.accumulate(model, [batch], fisher=fisher, bias=bias, generator=None)
    found, start = {}, 0
    for name, block in sorted(dense(model, batch, "expand", bias).items()):
        inside = slice(start, start + len(block))
        found[name] = factors.A["all"][inside, inside] / factors.rows
        start += len(block)
    return found


def errors(found, expected):
    return [float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected]


class Pooled(nn.Module):
    """A model of places [R, L, ...] followed by the mean over places."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return self.inner(x).mean(1)


class ConvPooled(nn.Module):
    """conv 3x3 -> conv 1x1 -> mean over pixels -> Linear, all linear; 2 -> 3 -> 4 -> 2 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.second(self.first(x)).mean((2, 3)))


def linear_layers():
    return nn.Linear(3, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2)


def rows(*shape, out, examples=4):
    return Batch(
        (torch.randn(examples, *shape),), torch.randn(examples, *out), examples, 1, torch.randn(examples, *out)
    )


EXACT = {  # setting -> model, rows, the sharing that is exact, whether the other one fails
    "deep linear": (lambda: nn.Sequential(*linear_layers()), rows, ((3,), (2,)), ("expand", "reduce")),
    "position by position": (lambda: nn.Sequential(*linear_layers()), rows, ((6, 3), (6, 2)), ("expand",)),
    "mean over positions": (lambda: Pooled(*linear_layers()), rows, ((6, 3), (2,)), ("reduce",)),
    "mean over pixels": (ConvPooled, rows, ((2, 5, 4), (2,)), ("reduce",)),
}


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("setting", EXACT)
def test_exact_settings(setting, bias):
    # Exact is 1e-15; the other sharing is off by more than 0.1, and so are a lost 1/L, 2/D, or factors interchanged.
    build, make, (shape, out), right = EXACT[setting]
    model, batch = build(), make(*shape, out=out)
    expected = diagonal(model, batch, bias)
    for sharing in ("expand", "reduce"):
        weights = errors(dense(model, batch, sharing, bias), expected)
        assert max(weights) < 1e-12 if sharing in right else max(weights) > 0.1


@pytest.mark.parametrize("fisher", ["type2", "mc", "empirical"])
@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh])
def test_one_row_is_exact_for_any_network(fisher, activation):
    model = nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2))
    one, three = rows(3, out=(2,), examples=1), rows(3, out=(2,), examples=3)
    assert max(errors(dense(model, one, "expand", "joint", fisher), diagonal(model, one, "joint", fisher))) < 1e-12
    assert max(errors(dense(model, three, "expand", "joint", fisher), diagonal(model, three, "joint", fisher))) > 0.01


def test_empirical_is_not_exact_for_deep_linear_networks():
    # Residuals and inputs are dependent: type-2 is exact here (test_exact_settings), the empirical Fisher is not.
    model, batch = nn.Sequential(*linear_layers()), rows(3, out=(2,))
    assert (
        max(errors(dense(model, batch, "expand", "joint", "empirical"), diagonal(model, batch, "joint", "empirical")))
        > 0.1
    )


def test_factors_by_hand():
    """A and B of a convolution, from unfold and autograd, in both sharings: the equations of kfac.py as einsums."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(12, 2))
    batch = rows(2, 4, 4, out=(2,))
    a = F.unfold(batch.inputs[0], 3, padding=1, stride=2).mT
    a = torch.cat([a, torch.ones(4, 4, 1)], 2)  # [R, L, J]
    hidden = model[0](*batch.inputs)
    b = torch.stack(
        [torch.autograd.grad(model[1:](hidden)[:, d].sum(), hidden, retain_graph=True)[0] for d in range(2)]
    )
    b = b.flatten(3).mT  # [D, R, L, O], at (2/D) = 1
    close = dict(rtol=1e-12, atol=1e-14)
    found = kfac.accumulate(model, [batch], fisher="type2", sharing="expand", bias="joint", generator=None)
    torch.testing.assert_close(found.A["0"] / 4, torch.einsum("rli,rlj->ij", a, a) / (4 * 4), **close)
    torch.testing.assert_close(found.B["0"] / 4, torch.einsum("drlo,drlp->op", b, b) / 4, **close)
    found = kfac.accumulate(model, [batch], fisher="type2", sharing="reduce", bias="joint", generator=None)
    torch.testing.assert_close(found.A["0"] / 4, torch.einsum("ri,rj->ij", a.mean(1), a.mean(1)) / 4, **close)
    torch.testing.assert_close(found.B["0"] / 4, torch.einsum("dro,drp->op", b.sum(2), b.sum(2)) / 4, **close)


def test_bias_blocks(problem):
    model, make = problem
    batch = make(3, 2, 0)
    options = dict(fisher="type2", sharing="expand", generator=None)
    joint = kfac.accumulate(model, [batch], bias="joint", **options)
    separate = kfac.accumulate(model, [batch], bias="separate", **options)
    for name, layer in blocks.layers(model).items():
        assert torch.equal(separate.B[f"{name}.weight"], joint.B[name])
        if layer.bias is None:
            assert torch.equal(separate.A[f"{name}.weight"], joint.A[name])
            continue
        assert torch.equal(separate.B[f"{name}.bias"], joint.B[name])
        assert separate.A[f"{name}.bias"].tolist() == [[6.0]]  # rows x mean of 1 x 1
        torch.testing.assert_close(separate.A[f"{name}.weight"], joint.A[name][:-1, :-1])
        assert float(joint.A[name][-1, -1]) == pytest.approx(6, rel=1e-12)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("fisher", ["type2", "mc", "empirical"])
def test_batching_merging_and_repetition(problem, fisher, sharing, monkeypatch):
    # An unweighted mean over the uneven batches (4 + 2 + 1) is off by the spread of batches, of order 0.1.
    model, make = problem
    batch = make(7, 1, 0)

    def part(first, last):
        cut = slice(first, last)
        return Batch(tuple(x[cut] for x in batch.inputs), batch.target[cut], last - first, 1, batch.pseudo[cut])

    def run(batches):
        return kfac.accumulate(model, batches, fisher=fisher, sharing=sharing, bias="joint", generator=None)

    whole = run([batch])
    uneven = [part(0, 4), part(4, 6), part(6, 7)]
    ways = {"uneven": run(uneven), "single rows": run([part(i, i + 1) for i in range(7)])}
    ways |= {"merged": kfac.merge([run(uneven[1:]), run(uneven[:1])]), "twice": run([batch, batch])}
    monkeypatch.setattr(blocks, "CHUNK", 1)
    ways["chunks"] = run([batch])
    assert ways["merged"].rows == whole.rows == 7
    assert ways["twice"].rows == 14
    for way, found in ways.items():
        for name in whole.A:
            close = dict(rtol=1e-11, atol=1e-13, msg=lambda text, way=way: f"{way}: {text}")
            torch.testing.assert_close(found.A[name] / found.rows, whole.A[name] / 7, **close)
            torch.testing.assert_close(found.B[name] / found.rows, whole.B[name] / 7, **close)


def test_single_precision_sums_in_double(mlp):
    model, make = mlp
    batch = make(50, 1, 0)
    options = dict(fisher="type2", sharing="expand", bias="joint", generator=None)
    exact = kfac.accumulate(model, [batch], **options)
    single = Batch((batch.inputs[0].float(),), batch.target.float(), 50, 1)
    found = kfac.accumulate(model.float(), [single], **options)
    for name in exact.A:
        assert found.A[name].dtype == torch.float64
        torch.testing.assert_close(found.A[name], exact.A[name], rtol=1e-5, atol=1e-5)


def test_eigenbasis(problem):
    model, make = problem
    factors = kfac.accumulate(model, [make(3, 2, 0)], fisher="type2", sharing="expand", bias="joint", generator=None)
    basis = kfac.eigenbasis(factors)
    for name, eigenvalues in kfac.kfac_eigenvalues(basis).items():
        Q = torch.kron(basis.QB[name], basis.QA[name])
        block = torch.kron(factors.B[name], factors.A[name]) / factors.rows**2
        torch.testing.assert_close(Q @ eigenvalues.flatten().diag() @ Q.mT, block, rtol=1e-11, atol=1e-13)
        assert (eigenvalues >= 0).all()


def test_refusals(mlp):
    model, make = mlp
    with pytest.raises(StudyError, match="choose expand or reduce"):
        kfac.accumulate(model, [make(1, 1, 0)], fisher="type2", sharing="both", bias="joint", generator=None)
    with pytest.raises(StudyError, match="none, or of different blocks"):
        kfac.merge([])
    with pytest.raises(StudyError, match="hold no rows"):
        kfac.eigenbasis(kfac.accumulate(model, [], fisher="type2", sharing="expand", bias="joint", generator=None))
    broken = kfac.Factors({"a": torch.full((1, 1), torch.nan)}, {"a": torch.ones(1, 1)}, 1)
    with pytest.raises(StudyError, match="block 'a' is not finite"):
        kfac.eigenbasis(broken)
