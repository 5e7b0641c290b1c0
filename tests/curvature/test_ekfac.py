"""EK-FAC: its eigenvalues are the diagonal of Q^T F Q, which is what makes it the best diagonal in K-FAC's basis."""

import pytest
import torch
from torch import nn

from attribution.curvature import blocks, ekfac, ggn, kfac
from attribution.curvature.gradients import example_gradients
from attribution.curvature.inner import inner
from attribution.curvature.rows import Batch, loss_gradient
from attribution.errors import StudyError

FISHERS = ["type2", "mc", "empirical"]


def fit(model, batches, fisher, sharing="expand", bias="joint"):
    factors = kfac.accumulate(model, batches, fisher=fisher, sharing=sharing, bias=bias, generator=None)
    basis = kfac.eigenbasis(factors)
    return basis, ekfac.accumulate_eigenvalues(model, batches, basis, fisher=fisher, bias=bias, generator=None)


def diagonal_blocks(model, batch, fisher, bias, basis):
    """Blocks of the exact F, and Q = Q_B (x) Q_A of each."""
    factors = ggn.accumulate(model, [batch], fisher=fisher, bias=bias, generator=None)
    whole, start = factors.A["all"] / factors.rows, 0
    for name in sorted(basis.QA):
        Q = torch.kron(basis.QB[name], basis.QA[name])
        yield name, whole[start : start + len(Q), start : start + len(Q)], Q
        start += len(Q)


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("fisher", FISHERS)
def test_eigenvalues_are_the_diagonal_of_the_fisher(problem, fisher, sharing, bias):
    # Squaring before the sum over positions, or Q transposed, gives errors of order 1.
    model, make = problem
    batch = make(3, 2, 0)
    basis, eigenvalues = fit(model, [batch], fisher, sharing, bias)
    kron = kfac.kfac_eigenvalues(basis)
    found = ekfac.mean(eigenvalues)
    worse = 0
    for name, F, Q in diagonal_blocks(model, batch, fisher, bias, basis):
        expected = (Q.mT @ F @ Q).diagonal()
        torch.testing.assert_close(found[name].flatten(), expected, rtol=1e-10, atol=1e-12 * float(expected.max()))
        assert float(found[name].sum()) == pytest.approx(float(F.trace()), rel=1e-12)
        ek, k = (float((F - Q @ values[name].flatten().diag() @ Q.mT).norm()) for values in (found, kron))
        assert ek <= k + 1e-12 * float(F.norm())
        worse += k > 1.01 * ek + 1e-6 * float(F.norm())
    assert worse  # K-FAC is not exact here: in some block the ordering is no tie


def test_equal_to_kfac_where_kfac_is_exact():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    batch = Batch((torch.randn(30, 3),), torch.randn(30, 2), 30, 1)
    basis, eigenvalues = fit(model, [batch], "type2")
    for name, expected in kfac.kfac_eigenvalues(basis).items():
        torch.testing.assert_close(ekfac.mean(eigenvalues)[name], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("layer", ["conv", "tokens"])
@pytest.mark.parametrize("outputs", [2, 20])
def test_both_orders_of_contraction(layer, outputs):
    """Positions (9) fewer than outputs (20) and more (2): Q_A before or after the sum over positions."""
    first, x = (nn.Conv2d(2, outputs, 2), (2, 4, 4)) if layer == "conv" else (nn.Linear(2, outputs), (9, 2))
    model = nn.Sequential(first, nn.SiLU(), nn.Flatten(), nn.Linear(outputs * 9, 1))
    batch = Batch((torch.randn(5, *x),), torch.randn(5, 1), 5, 1)
    basis, eigenvalues = fit(model, [batch], "empirical")
    rows = ekfac.rotate(example_gradients(model, batch, "joint", loss_gradient), basis)
    for name, expected in rows.items():
        torch.testing.assert_close(eigenvalues.sums[name], expected.square().sum(0), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("fisher", FISHERS)
def test_batching_and_merging(problem, fisher, monkeypatch):
    model, make = problem
    batch = make(7, 1, 0)

    def part(first, last):
        cut = slice(first, last)
        return Batch(tuple(x[cut] for x in batch.inputs), batch.target[cut], last - first, 1, batch.pseudo[cut])

    basis, whole = fit(model, [batch], fisher)

    def run(batches):
        return ekfac.accumulate_eigenvalues(model, batches, basis, fisher=fisher, bias="joint", generator=None)

    ways = [run([part(0, 4), part(4, 7)]), ekfac.merge([run([part(5, 7)]), run([part(0, 5)])]), run([batch, batch])]
    monkeypatch.setattr(blocks, "CHUNK", 1)
    ways.append(run([batch]))
    for found in ways:
        for name, expected in ekfac.mean(whole).items():
            torch.testing.assert_close(ekfac.mean(found)[name], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bias", ["joint", "separate"])
def test_averaged_eigenvalues_are_the_diagonal_of_the_averaged_fisher(problem, jacobian, bias):
    """E_n[gbar gbar^T] from torch.func's Jacobian: gbar_n = mean over draws of (2/D) J^T (f - y).

    The Fisher of single draws has a larger trace, by the draws' covariance; equal only where an example has one draw.
    """
    model, make = problem
    batch = make(5, 4, 0)
    basis, single = fit(model, [batch], "empirical", bias=bias)
    found = ekfac.accumulate_averaged(model, [[batch]], basis, bias)
    J = jacobian(model, batch, bias)  # [R, D, P]
    u = 2 / J.shape[1] * (model(*batch.inputs).detach() - batch.target).flatten(1)
    gbar = torch.einsum("rdp,rd->rp", J, u).unflatten(0, (5, 4)).mean(1)  # [N, P]
    F, start = gbar.mT @ gbar / 5, 0
    for name, values in sorted(ekfac.mean(found).items()):
        Q = torch.kron(basis.QB[name], basis.QA[name])
        block = F[start : start + len(Q), start : start + len(Q)]
        expected = (Q.mT @ block @ Q).diagonal()
        torch.testing.assert_close(values.flatten(), expected, rtol=1e-10, atol=1e-12 * float(expected.max()))
        start += len(Q)
    trace = sum(float(values.sum()) for values in ekfac.mean(found).values())
    assert trace == pytest.approx(float(gbar.square().sum(1).mean()), rel=1e-12)
    kernel = inner(*[example_gradients(model, batch, bias, loss_gradient)] * 2)  # TRAK's
    assert trace == pytest.approx(float(kernel.trace()) / 5, rel=1e-12)
    assert sum(float(values.sum()) for values in ekfac.mean(single).values()) > 1.5 * trace
    one = make(5, 1, 0)
    basis, single = fit(model, [one], "empirical", bias=bias)
    for name, values in ekfac.accumulate_averaged(model, [[one]], basis, bias).sums.items():
        torch.testing.assert_close(values, single.sums[name], rtol=1e-9, atol=1e-15)


def test_averaged_groups_and_draws_may_come_in_pieces(problem):
    model, make = problem
    whole = make(5, 4, 0)

    def part(first, last, start, stop):
        def cut(x):
            return x.unflatten(0, (5, 4))[first:last, start:stop].flatten(0, 1)

        return Batch(tuple(cut(x) for x in whole.inputs), cut(whole.target), last - first, stop - start)

    basis, _ = fit(model, [whole], "empirical")
    expected = ekfac.accumulate_averaged(model, [[whole]], basis, "joint")
    groups = [[part(0, 2, 0, 3), part(0, 2, 3, 4)], [part(2, 5, 0, 1), part(2, 5, 1, 4)]]
    at_once = ekfac.accumulate_averaged(model, groups, basis, "joint")
    merged = ekfac.merge(ekfac.accumulate_averaged(model, [group], basis, "joint") for group in groups[::-1])
    for found in (at_once, merged):
        assert found.rows == 5
        for name, values in expected.sums.items():
            torch.testing.assert_close(found.sums[name], values, rtol=1e-10, atol=1e-14)


def test_rotation_keeps_inner_products(problem):
    model, make = problem
    batch = make(4, 2, 0)
    basis, _ = fit(model, [batch], "type2")
    gradients = example_gradients(model, batch, "joint", loss_gradient)
    rotated = ekfac.rotate(gradients, basis)
    for name, G in gradients.items():
        by_kron = G.flatten(1) @ torch.kron(basis.QB[name], basis.QA[name])
        torch.testing.assert_close(rotated[name].flatten(1), by_kron, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(by_kron @ by_kron.mT, G.flatten(1) @ G.flatten(1).mT, rtol=1e-11, atol=1e-13)


def test_refusals(mlp):
    model, make = mlp
    basis, eigenvalues = fit(model, [make(2, 1, 0)], "type2")
    with pytest.raises(StudyError, match="different blocks"):
        ekfac.rotate({"first": torch.zeros(1, 4, 4)}, basis)
    with pytest.raises(StudyError, match="different blocks"):
        ekfac.merge([eigenvalues, ekfac.Eigenvalues({}, 0)])
    with pytest.raises(StudyError, match="hold no rows"):
        ekfac.mean(ekfac.Eigenvalues({}, 0))
