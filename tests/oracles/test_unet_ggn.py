"""K-FAC and EK-FAC of a small diffusers UNet against the exact GGN, by the Woodbury identity.

F = 2/(D R) J^T J with the Jacobian J [R D, P] of R rows' outputs, by torch.func, one row at a time. Then
    (F + lambda I)^{-1} g = (g - J^T (J J^T + lambda D R / 2 I)^{-1} J g) / lambda
needs a matrix of R D numbers squared and no P x P one. Everything is in float64, on the parameters that blocks hold.

Shape letters: R rows, D output dims of a row, N examples, Q queries, P parameters.
"""

import pytest
import torch

from attribution.curvature import ekfac, kfac
from attribution.curvature.blocks import covered
from attribution.curvature.flat import layout
from attribution.curvature.gradients import example_gradients
from attribution.curvature.iterate import Settings, State, solve
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import by_ekfac
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue, scores
from attribution.diffusion.denoisers import build

SHAPE, D = (1, 4, 4), 16
ROWS, N, Q = 60, 30, 8
TRAINING_STEPS = 150
STEPS = 60


def noised(examples: int) -> Batch:
    """One draw of each of `examples` images: two smooth kinds of them, at signal-to-noise ratios of every size."""
    ramp = torch.linspace(-1, 1, 4)
    kinds = torch.stack([ramp[:, None] * torch.ones(4), ramp[:, None] * ramp])
    x = kinds[torch.arange(examples) % 2][:, None] * (1 + 0.3 * torch.randn(examples, 1, 1, 1))
    t = torch.randint(0, 1000, (examples,))
    abar = torch.cos(t / 1000 * torch.pi / 2)[:, None, None, None] ** 2
    eps = torch.randn(examples, *SHAPE)
    return Batch((abar.sqrt() * x + (1 - abar).sqrt() * eps, t), eps, examples, 1)


@pytest.fixture(scope="module")
def problem(unet):
    """(model, curvature rows, gradients of examples and queries by block, J [R D, P], the same gradients [., P])."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model = build(unet, SHAPE).double()
    for module in model.modules():
        if hasattr(module, "upcast_softmax"):
            module.upcast_softmax = False  # diffusers casts attention scores to float32, also from float64
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(TRAINING_STEPS):
        batch = noised(32)
        optimiser.zero_grad()
        ((model(*batch.inputs) - batch.target) ** 2).mean().backward()
        optimiser.step()
    batch = noised(ROWS)
    sets = [noised(count) for count in (N, Q)]
    by_block = [example_gradients(model, part, "separate", loss_gradient) for part in sets]
    J = jacobian(model, batch)
    flat = [torch.cat([part[name].flatten(1) for name in covered(model)], 1) for part in by_block]
    torch.set_default_dtype(torch.float32)
    return model, batch, by_block, J, flat


def jacobian(model, batch):
    """[R D, P] of the model's outputs in the covered parameters, in their order."""
    parameters = {name: model.get_parameter(name).detach() for name in covered(model)}

    def output(values, x, t):
        return torch.func.functional_call(model, values, (x[None], t[None])).flatten()

    rows = [
        torch.cat([part.flatten(1) for part in torch.func.jacrev(output)(parameters, x, t).values()], 1)
        for x, t in zip(*batch.inputs, strict=True)
    ]
    return torch.cat(rows).detach()


@pytest.fixture(scope="module")
def fitted(problem):
    """Fisher -> (basis, K-FAC eigenvalues, EK-FAC eigenvalues); both passes see the same pseudo-targets."""
    model, batch, *_ = problem
    pseudo = torch.randn(ROWS, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = [Batch(batch.inputs, batch.target, batch.examples, batch.draws, pseudo)]
    found = {}
    for fisher in ("type2", "mc"):
        options = dict(fisher=fisher, bias="separate", generator=None)
        basis = kfac.eigenbasis(kfac.accumulate(model, rows, sharing="expand", **options))
        corrected = ekfac.mean(ekfac.accumulate_eigenvalues(model, rows, basis, **options))
        found[fisher] = basis, kfac.kfac_eigenvalues(basis), corrected
    return found


def trace(eigenvalues) -> float:
    return sum(float(value.sum()) for value in eigenvalues.values())


def exact_scores(J, g, q, damping):
    """q^T (F + damping I)^{-1} g: [Q, N]."""
    return q @ solved(J, g, damping).mT


def solved(J, g, damping):
    """(F + damping I)^{-1} g of every row of g: [N, P]."""
    ridge = damping * len(J) / 2  # D R / 2 times the damping
    inner = torch.linalg.solve(J @ J.mT + ridge * torch.eye(len(J)).to(J), J @ g.mT)
    return (g - inner.mT @ J) / damping


def correlation(found, exact) -> float:
    """Mean over queries of the correlation over examples."""
    pairs = (torch.stack(pair) for pair in zip(found, exact, strict=True))
    return float(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean())


def test_woodbury_solves_the_damped_system(problem):
    _, _, _, J, (g, _) = problem
    damping = 0.1 * 2 / len(J) * float(J.square().sum()) / J.shape[1]
    x = solved(J, g, damping)
    torch.testing.assert_close(
        2 / len(J) * (x @ J.mT) @ J + damping * x, g, rtol=1e-8, atol=1e-10 * float(g.abs().max())
    )


def test_trace_of_ekfac_is_the_exact_one(problem, fitted):
    # Two codes in float64: 1e-10. K-FAC's trace is 1.55 times the exact one; one Monte-Carlo vector a row gives 0.95,
    # within two standard errors, and the empirical Fisher 0.05.
    J = problem[3]
    exact = 2 / len(J) * float(J.square().sum())
    assert trace(fitted["type2"][2]) == pytest.approx(exact, rel=1e-10)
    assert trace(fitted["type2"][1]) > 1.3 * exact
    assert trace(fitted["mc"][2]) == pytest.approx(exact, rel=0.15)


def test_eigenvalues_of_ekfac_are_the_diagonal_in_its_basis(problem, fitted):
    """Lambda = diag(Q^T F Q) = 2/(D R) sum (J Q)^2, every entry; K-FAC's diagonal is off by 1.3 times its norm.

    A bias of attention's keys has curvature 0, which rounding leaves at 1e-36: absolute errors are of the mean.
    """
    model, _, (blocks, _), J, _ = problem
    basis, product, corrected = fitted["type2"]
    parts = J.split([blocks[name][0].numel() for name in covered(model)], 1)
    by_block = {n: part.unflatten(1, blocks[n].shape[1:]) for n, part in zip(covered(model), parts, strict=True)}
    unit, wrong, size = mean_eigenvalue(corrected), 0.0, 0.0
    for name, rotated in ekfac.rotate(by_block, basis).items():
        exact = 2 / len(J) * rotated.square().sum(0)
        torch.testing.assert_close(corrected[name], exact, rtol=1e-8, atol=1e-12 * unit)
        wrong += float((product[name] - exact).square().sum())
        size += float(exact.square().sum())
    assert wrong > size


def test_scores_agree_with_the_exact_ones(problem, fitted):
    """Correlation with the exact scores at dampings of 0.01, 0.1 and 1 of the mean eigenvalue: dot 0.16, 0.23, 0.35;
    K-FAC 0.43, 0.47, 0.50; EK-FAC 0.46, 0.51, 0.53, the same to 0.01 by Monte Carlo.
    """
    _, _, (g, q), J, (flat_g, flat_q) = problem
    unit = 2 / len(J) * float(J.square().sum()) / J.shape[1]
    for ratio in (0.01, 0.1, 1.0):
        exact = exact_scores(J, flat_g, flat_q, ratio * unit)
        values = {"dot": correlation(flat_q @ flat_g.mT, exact)}
        for fisher, (basis, product, corrected) in fitted.items():
            rotated = ekfac.rotate(q, basis), ekfac.rotate(g, basis)
            for name, eigenvalues in (("kfac", product), ("ekfac", corrected)):
                damping = ratio * mean_eigenvalue(eigenvalues)
                values[f"{name} {fisher}"] = correlation(scores(*rotated, eigenvalues, damping), exact)
        assert values["ekfac type2"] > 0.4
        assert values["ekfac type2"] > values["kfac type2"] + 0.01
        assert values["kfac type2"] > values["dot"] + 0.1
        assert values["ekfac mc"] == pytest.approx(values["ekfac type2"], abs=0.05)


def test_products_are_those_of_the_jacobian(problem):
    # Convolutions, attention and norms, forward and backward: float64, 1e-10. A lost 2/D or 1/R is of order 1.
    model, batch, _, J, _ = problem
    order = layout(model, covered(model))
    x = torch.randn(3, order.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = 2 / len(J) * (x @ J.mT) @ J
    found = ggn_product(model, order, batch, 25)(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))


def test_iteration_approaches_the_solve(problem, fitted):
    """Scores by 12 of the 60 rows at a step, in EK-FAC's metric, at a damping of the mean eigenvalue, against the exact
    ones: a correlation of 0.98 after 100 steps. EK-FAC itself has 0.53 (above).
    """
    model, batch, _, J, (g, q) = problem
    basis, _, corrected = fitted["type2"]
    order, damping = layout(model, covered(model)), mean_eigenvalue(corrected)

    def operator(stream, step):
        generator = torch.Generator().manual_seed(2 * step + (stream == "check"))
        rows = torch.randperm(ROWS, generator=generator)[:12]
        part = Batch(tuple(tensor[rows] for tensor in batch.inputs), batch.target[rows], 12, 1)
        return ggn_product(model, order, part, 12)

    settings = Settings(
        steps=STEPS,
        learning_rate=0.2,
        warmup=10,
        final=0.02,
        momentum=0.9,
        decay=0.0,
        damping=damping,
        vectors=Q,
        check_every=STEPS,
        check_batches=5,
        tolerance=None,
    )
    metric = by_ekfac(model, order, "separate", basis, corrected, 3 * damping)
    x, _ = solve(operator, q, metric, settings, State.first(q), lambda state: None)
    assert correlation(x @ g.mT, exact_scores(J, g, q, damping)) > 0.93
