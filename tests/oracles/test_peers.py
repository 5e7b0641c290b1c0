"""Agreement with two independent codes: curvlinops 3.0.1 (K-FAC, EK-FAC) and kronfluence 1.0.1 (EK-FAC).

Compared are products and damped inverse products (curvlinops) and scores (kronfluence), in float64, with the Fishers
that draw nothing. Both are known to differ from the definitions in scale, and only there:
- curvlinops' empirical Fisher of a mean loss over D dims is D times the mean outer product of gradients;
- kronfluence's K-FAC (not its EK-FAC) underscales layers by their number of positions, so only EK-FAC is compared; its
  loss is summed over a batch, and it appends ones to inputs, so biases are joint.
"""

import importlib

import pytest
import torch
from torch import nn

from attribution.curvature import ekfac, kfac
from attribution.curvature.blocks import covered, layers
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue, scores

ROWS, QUERIES = 40, 3  # more rows than inputs of any layer: EK-FAC depends on the choice of a null space's eigenvectors
OUT = 4


def peer(name: str):
    """The module, or a failure that says how to get it: an agreement that was not checked is no agreement."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.fail(f"{name} cannot be imported ({error}): run `make test`, which installs the peers into .peers")


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, OUT)), (5,)


def conv():
    first, second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 5, 3, stride=2)
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), nn.Flatten(), nn.Linear(20, OUT)), (2, 6, 6)


NETS = {"mlp": mlp, "conv": conv}


def rows(shape, count, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(count, *shape, generator=generator), torch.randn(count, OUT, generator=generator)
    return Batch((x,), y, count, 1)


def fit(model, batch, fisher, sharing, bias):
    """(basis, K-FAC eigenvalues, EK-FAC eigenvalues)."""
    factors = kfac.accumulate(model, [batch], fisher=fisher, sharing=sharing, bias=bias, generator=None)
    basis = kfac.eigenbasis(factors)
    corrected = ekfac.accumulate_eigenvalues(model, [batch], basis, fisher=fisher, bias=bias, generator=None)
    return basis, kfac.kfac_eigenvalues(basis), ekfac.mean(corrected)


def by_block(model, vectors, bias):
    """Parameter-shaped [..., K] tensors, one a covered parameter, as [K, O, J] of every block."""
    values = dict(zip(covered(model), vectors, strict=True))
    separate = {name: value.movedim(-1, 0).reshape(value.shape[-1], len(value), -1) for name, value in values.items()}
    if bias == "separate":
        return separate
    return {name: torch.cat([separate[f"{name}.{kind}"] for kind in ("weight", "bias")], 2) for name in layers(model)}


def applied(vectors, basis, eigenvalues):
    """Q_B (eigenvalues * (Q_B^T V Q_A)) Q_A^T of every block."""
    rotated = ekfac.rotate(vectors, basis)
    return {name: basis.QB[name] @ (eigenvalues[name] * value) @ basis.QA[name].mT for name, value in rotated.items()}


@pytest.mark.parametrize("bias", ["joint", "separate"])
@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("fisher", ["type2", "empirical"])
@pytest.mark.parametrize("method", ["kfac", "ekfac"])
@pytest.mark.parametrize("net", NETS)
def test_curvlinops(net, method, fisher, sharing, bias):
    # Two codes in float64: 1e-9. A wrong 1/L, 2/D or sharing is off by order 1 in some layer.
    curvlinops = peer("curvlinops")
    model, shape = NETS[net]()
    batch = rows(shape, ROWS, 0)
    operator = (curvlinops.KFACLinearOperator if method == "kfac" else curvlinops.EKFACLinearOperator)(
        model,
        nn.MSELoss(reduction="mean"),
        [model.get_parameter(name) for name in covered(model)],
        [(batch.inputs[0][:30], batch.target[:30]), (batch.inputs[0][30:], batch.target[30:])],
        check_deterministic=False,
        fisher_type={"type2": "type-2"}.get(fisher, fisher),
        kfac_approx=sharing,
        separate_weight_and_bias=bias == "separate",
        num_per_example_loss_terms=1,
    )
    scale = OUT if fisher == "empirical" else 1
    basis, product, corrected = fit(model, batch, fisher, sharing, bias)
    eigenvalues = {name: scale * value for name, value in (product if method == "kfac" else corrected).items()}
    vectors = [torch.randn(*model.get_parameter(name).shape, 2) for name in covered(model)]
    mine = by_block(model, vectors, bias)
    damping = 0.1 * mean_eigenvalue(eigenvalues)
    inverse = curvlinops.KFACInverseLinearOperator(operator, damping=damping, use_exact_damping=True)
    inverted = {name: 1 / (value + damping) for name, value in eigenvalues.items()}
    for theirs, values in ((operator @ vectors, eigenvalues), (inverse @ vectors, inverted)):
        expected, found = by_block(model, theirs, bias), applied(mine, basis, values)
        for name in expected:
            assert (found[name] - expected[name]).norm() < 1e-9 * expected[name].norm()


@pytest.mark.parametrize("net", NETS)
def test_curvlinops_trace_of_type2_ekfac(net):
    curvlinops = peer("curvlinops")
    model, shape = NETS[net]()
    batch = rows(shape, ROWS, 0)
    operator = curvlinops.EKFACLinearOperator(
        model,
        nn.MSELoss(reduction="mean"),
        [model.get_parameter(name) for name in covered(model)],
        [(batch.inputs[0], batch.target)],
        check_deterministic=False,
        fisher_type="type-2",
        num_per_example_loss_terms=1,
    )
    _, _, corrected = fit(model, batch, "type2", "expand", "separate")
    assert float(operator.trace) == pytest.approx(sum(float(value.sum()) for value in corrected.values()), rel=1e-10)


@pytest.mark.parametrize("net", NETS)
def test_kronfluence_ekfac_scores(net, tmp_path):
    # The same empirical Fisher, joint biases and damping: 1e-6 (its factors are kept in float64 on request). The K-FAC
    # eigenvalues in place of the corrected ones, or separate biases, are off by more than 0.01.
    analyzer, arguments = peer("kronfluence.analyzer"), peer("kronfluence.arguments")

    class Regression(peer("kronfluence.task").Task):
        def compute_train_loss(self, batch, model, sample=False):
            return ((model(batch[0]) - batch[1]) ** 2).mean(1).sum()

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    model, shape = NETS[net]()
    train, queries = rows(shape, ROWS, 0), rows(shape, QUERIES, 1)
    basis, product, corrected = fit(model, train, "empirical", "expand", "joint")
    damping = 0.1 * mean_eigenvalue(corrected)
    g, q = (ekfac.rotate(example_gradients(model, batch, "joint", loss_gradient), basis) for batch in (train, queries))
    found = scores(q, g, corrected, damping)

    train_set, query_set = (torch.utils.data.TensorDataset(*b.inputs, b.target) for b in (train, queries))
    prepared = analyzer.prepare_model(model, Regression())
    run = analyzer.Analyzer("peers", prepared, Regression(), output_dir=str(tmp_path), cpu=True, disable_tqdm=True)
    kinds = ("activation_covariance", "gradient_covariance", "eigendecomposition", "per_sample_gradient", "lambda")
    run.fit_all_factors(
        "factors",
        train_set,
        per_device_batch_size=5,
        factor_args=arguments.FactorArguments(
            strategy="ekfac", use_empirical_fisher=True, **{f"{kind}_dtype": torch.float64 for kind in kinds}
        ),
    )
    kinds = ("score", "per_sample_gradient", "precondition")
    run.compute_pairwise_scores(
        "scores",
        "factors",
        query_set,
        train_set,
        per_device_query_batch_size=2,
        per_device_train_batch_size=5,
        score_args=arguments.ScoreArguments(
            damping_factor=damping, **{f"{kind}_dtype": torch.float64 for kind in kinds}
        ),
    )
    expected = run.load_pairwise_scores("scores")["all_modules"].double()
    assert expected.shape == (QUERIES, ROWS)
    assert (found - expected).norm() < 1e-6 * expected.norm()
    assert (scores(q, g, product, damping) - expected).norm() > 1e-2 * expected.norm()
