"""The whole study in closed form: Gaussian data, one linear denoiser a timestep, retraining on subsets by formula.

For x ~ N(mu, Sigma), x_t = s x + r eps with s^2 + r^2 = 1, the best linear predictor of eps from x_t is
    f_t(x_t) = r (s^2 Sigma + r^2 I)^{-1} (x_t - s mu),
and on a finite set it is the same with the set's mean and covariance. The expectation over eps is exact with 2 C draws
+-sqrt(C) e_c, which have mean 0 and covariance I: the loss is quadratic in eps. So gradients, curvature, retraining and
measurements hold no noise, and the linear datamodelling score measures the linearity of influence alone.

One Linear on onehot(t) (x) (x_t, 1) is a denoiser a timestep. Shape letters: N examples, Q queries, C dims, S subsets.
"""

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from attribution.curvature import ekfac, ggn, kfac
from attribution.curvature.directional import directional_derivatives, full_gradients
from attribution.curvature.flat import layout
from attribution.curvature.gradients import example_gradients
from attribution.curvature.iterate import Settings, State, solve
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import Metric, by_ekfac
from attribution.curvature.rows import Batch, loss_gradient
from attribution.curvature.solve import mean_eigenvalue, scores

C, N, Q, SUBSETS = 3, 120, 12, 100
SIGNAL = (0.95, 0.7, 0.3)  # s at each of three timesteps
MU = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.3, 0.2, 1.5]], dtype=torch.float64)  # Sigma = ROOT ROOT^T


class Denoiser(nn.Module):
    """W [C, T (C + 1)] on onehot(t) (x) (x_t, 1), without a bias of its own."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.map = nn.Linear(weight.shape[1], C, bias=False, dtype=torch.float64)
        self.map.weight.data = weight

    def forward(self, x, t):  # [R, C], [R]
        features = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return self.map((nn.functional.one_hot(t, len(SIGNAL))[:, :, None] * features[:, None]).flatten(1))


def gaussian(n: int, generator: torch.Generator) -> torch.Tensor:
    """[n, C] images."""
    return MU + torch.randn(n, C, generator=generator, dtype=torch.float64) @ ROOT.mT


def noised(x: torch.Tensor) -> Batch:
    """Every image [n, C] at every timestep with the 2 C draws whose moments are those of N(0, I)."""
    points = C**0.5 * torch.cat([torch.eye(C), -torch.eye(C)]).to(x)
    rows = [(s * image + math.sqrt(1 - s**2) * e, t, e) for image in x for t, s in enumerate(SIGNAL) for e in points]
    x_t, t, eps = zip(*rows, strict=True)
    return Batch((torch.stack(x_t), torch.tensor(t)), torch.stack(eps), len(x), len(SIGNAL) * 2 * C)


def trained(mean: torch.Tensor, covariance: torch.Tensor) -> Denoiser:
    """The optimum on data of this mean [C] and covariance [C, C]."""
    maps = []
    for s in SIGNAL:
        r = math.sqrt(1 - s**2)
        gain = r * torch.linalg.inv(s**2 * covariance + r**2 * torch.eye(C).to(mean))
        maps += [gain, -(s * gain @ mean)[:, None]]
    return Denoiser(torch.cat(maps, 1))


def trained_on(x: torch.Tensor) -> Denoiser:
    return trained(x.mean(0), torch.cov(x.mT, correction=0))


PLAIN = Metric(lambda x, r, factor: x.add_(r, alpha=factor), lambda x: x)  # P = I


def fresh_rows(images: torch.Tensor):
    """(stream, step) -> all draws of 30 of the images [N, C], others at each step."""

    def rows(stream, step):
        generator = torch.Generator().manual_seed(2 * step + (stream == "check"))
        return noised(images[torch.randperm(len(images), generator=generator)[:30]])

    return rows


def solved(model, train, queries, metric, rows, steps, rate, damping) -> torch.Tensor:
    """Scores [Q, N] by the iteration, with no gradient of a training example."""
    settings = Settings(
        steps=steps,
        learning_rate=rate,
        warmup=0,
        final=0.02,
        momentum=0.9,
        decay=0.0,
        damping=damping,
        vectors=Q,
        check_every=steps,
        check_batches=2,
        tolerance=None,
    )
    order = layout(model)
    b = full_gradients(model, order, [queries], loss_gradient)

    def operator(stream, step):
        batch = rows(stream, step)
        return ggn_product(model, order, batch, batch.rows)

    x, _ = solve(operator, b, metric, settings, State.first(b), lambda state: None)
    return directional_derivatives(model, order, [train], x, loss_gradient, Q)


def losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """[n] loss of each example of the batch."""
    squared = ((model(*batch.inputs) - batch.target) ** 2).mean(1)
    return squared.unflatten(0, (batch.examples, batch.draws)).mean(1).detach()


@pytest.fixture(scope="module")
def study():
    """Images, queries, subsets with their measured losses, and scores [Q, N] by K-FAC, EK-FAC, the exact GGN and its
    solves: by fresh rows in a metric that knows the curvature (ASTRA), and by all rows in the plain one.
    """
    generator = torch.Generator().manual_seed(0)
    images, held_out = gaussian(N, generator), gaussian(Q, generator)
    queries = noised(held_out)
    model, train = trained_on(images), noised(images)
    g = example_gradients(model, train, "joint", loss_gradient)
    q = example_gradients(model, queries, "joint", loss_gradient)
    options = dict(fisher="type2", bias="joint", generator=None)
    basis = kfac.eigenbasis(kfac.accumulate(model, [train], sharing="expand", **options))
    corrected = ekfac.mean(ekfac.accumulate_eigenvalues(model, [train], basis, **options))
    exact = ggn.accumulate(model, [train], **options)
    damping = 1e-6 * mean_eigenvalue(corrected)
    found = {"exact": ggn.dense_scores(q, [g], exact, [damping])[0]}
    for name, eigenvalues in (("kfac", kfac.kfac_eigenvalues(basis)), ("ekfac", corrected)):
        found[name] = scores(ekfac.rotate(q, basis), ekfac.rotate(g, basis), eigenvalues, damping)
    astra = by_ekfac(model, layout(model), "joint", basis, corrected, 10 * damping)
    found["astra"] = solved(model, train, queries, astra, fresh_rows(images), 200, 0.3, damping)
    found["solve"] = solved(model, train, queries, PLAIN, lambda stream, step: train, 1000, 1.0, damping)
    kept = torch.stack([torch.randperm(N, generator=generator) < N // 2 for _ in range(SUBSETS)])  # [S, N]
    measured = torch.stack([losses(trained_on(images[subset]), queries) for subset in kept])  # [S, Q]
    found["dot"] = q["map"].flatten(1) @ g["map"].flatten(1).mT
    found["random"] = torch.randn(Q, N, generator=generator, dtype=torch.float64)
    return images, queries, found, kept, measured


def lds(score: torch.Tensor, kept: torch.Tensor, measured: torch.Tensor) -> float:
    """Mean over queries of the rank correlation, over subsets, of the removed examples' score sums with the losses."""
    removed = (~kept).to(score) @ score.mT  # [S, Q]
    return sum(spearmanr(removed[:, q], measured[:, q]).statistic for q in range(Q)) / Q


def test_optimum_is_the_least_squares_solution(study):
    images = study[0]
    batch, model = noised(images), trained_on(images)
    features = []
    handle = model.map.register_forward_hook(lambda _, inputs, __: features.append(inputs[0]))
    model(*batch.inputs)
    handle.remove()
    solution = torch.linalg.lstsq(features[0], batch.target).solution.mT
    torch.testing.assert_close(model.map.weight.data, solution, rtol=1e-9, atol=1e-11)


def test_optimum_approaches_that_of_the_distribution():
    # The distance to the closed form with mu and Sigma falls like N^(-1/2): a hundred times the data, a tenth.
    generator = torch.Generator().manual_seed(1)
    ideal = trained(MU, ROOT @ ROOT.mT).map.weight.data

    def distance(n):
        sets = (gaussian(n, generator) for _ in range(50))
        return sum(float((trained_on(x).map.weight.data - ideal).norm()) for x in sets) / 50

    assert distance(100) / distance(10_000) == pytest.approx(10, rel=0.25)


def test_gradients_sum_to_zero_at_the_optimum(study):
    images = study[0]
    gradient = example_gradients(trained_on(images), noised(images), "joint", loss_gradient)["map"]
    assert float(gradient.mean(0).abs().max()) < 1e-12
    assert float(gradient.abs().max()) > 0.1


def test_kfac_and_ekfac_equal_the_exact_curvature(study):
    # Type-2 K-FAC is exact for one Linear: differences of rounding. A lost 2/C or row count is off by order 1.
    found = study[2]
    for name in ("kfac", "ekfac"):
        torch.testing.assert_close(found[name], found["exact"], rtol=1e-7, atol=1e-9)


def test_scores_are_derivatives(study):
    """Score[:, j] is the change of the queries' losses as example j's weight falls from 1/N by eps, over eps.

    Differences at 1e-5 and a damping of 1e-6 leave about 1e-5; a lost 2/C or a wrong sign is an error of order 1.
    """
    images, queries, found, _, _ = study

    def at(j, eps):
        weights = torch.full((N,), 1 / N, dtype=torch.float64)
        weights[j] -= eps
        weights /= weights.sum()
        # Renormalising adds a multiple of the total gradient, which is zero at the optimum: no first-order effect.
        mean = weights @ images
        return losses(trained(mean, (images - mean).mT @ (weights[:, None] * (images - mean))), queries)

    for j in (0, 50):
        derivative = (at(j, 1e-5) - at(j, -1e-5)) / 2e-5
        for method in ("exact", "solve"):
            torch.testing.assert_close(
                found[method][:, j], derivative, rtol=1e-3, atol=1e-4 * float(derivative.abs().max())
            )


def test_solves_approach_the_exact_scores(study):
    """All rows at every step, 1,000 steps: converged. A quarter of the images at a step, others each time, 200 steps:
    0.04 to 0.06, the noise of few rows, though EK-FAC of all rows is the matrix itself and would need a single step.
    """
    found = study[2]
    size = float(found["exact"].norm())
    assert float((found["solve"] - found["exact"]).norm()) < 1e-3 * size
    assert float((found["astra"] - found["exact"]).norm()) < 0.1 * size


def test_linear_datamodelling_score(study):
    # Half of 120 images removed: what is left of 1 is the curvature of retraining. Random scores: 2 / sqrt(S Q) = 0.06
    # if queries were independent; they share subsets, so 0.15 is allowed.
    _, _, found, kept, measured = study
    values = {name: lds(score, kept, measured) for name, score in found.items()}
    assert values["exact"] > 0.95
    assert values["kfac"] == pytest.approx(values["exact"], abs=1e-3)
    assert values["ekfac"] == pytest.approx(values["exact"], abs=1e-3)
    assert values["solve"] == pytest.approx(values["exact"], abs=1e-3)
    assert values["astra"] == pytest.approx(values["exact"], abs=1e-2)
    assert values["dot"] < 0.85  # without curvature
    assert abs(values["random"]) < 0.15
    assert lds(-found["exact"], kept, measured) == pytest.approx(-values["exact"])
