"""TRAK's exact kernel against traker 0.3.2, of a denoiser whose parameters can all be kept and projected.

traker projects gradients by X = G S / sqrt(P) with S [P, K] of N(0, 1) entries and takes X (X^T X + lambda I)^{-1} x_q.
Without a projection (S = I) that is this project's score times a known factor. With one, E[X X^T] = (K / P) G G^T:
the ridge that means the same is damping x mean diagonal x K / P, and scores approach the exact ones like K^(-1/2).
traker's scores are [N, Q], each divided by the mean absolute entry of its inverse, which correlations do not see.

Shape letters: N examples, Q queries, E draws, P parameters, K dims of the projection.
"""

import importlib
import logging

import numpy as np
import pytest
import torch

from attribution.curvature.gradients import example_gradients, flatten
from attribution.curvature.inner import inner
from attribution.curvature.rows import Batch, loss_gradient
from attribution.diffusion.denoisers import MLP
from attribution.methods.trak import score

N, Q, E = 24, 5, 3
SHAPE = (1, 2, 2)
DAMPING = 0.1


def peer(name: str):
    """The module, or a failure that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.fail(f"{name} cannot be imported ({error}): run `make test`, which installs the peers into .peers")


@pytest.fixture(scope="module")
def problem():
    """(model, its rows for training and for queries, gradients [N, P] and [Q, P], exact scores [Q, N])."""
    torch.manual_seed(0)
    model = MLP(SHAPE, width=8, depth=2, time_features=4).eval()
    sets = [rows(count) for count in (N, Q)]
    train, queries = (example_gradients(model, batch, "joint", loss_gradient) for batch in sets)
    gram = {"query_train": inner(queries, train).numpy(), "train_train": inner(train, train).numpy()}
    return model, sets, flatten(train), flatten(queries), score(gram, {"dampings": [DAMPING]})[0]


def rows(examples: int) -> Batch:
    noise = torch.randn(2, examples * E, *SHAPE)
    return Batch((noise[0], torch.randint(0, 1000, (examples * E,))), noise[1], examples, E)


def traker_scores(model, sets, projector, ridge, folder) -> np.ndarray:
    """[Q, N] by traker, with the mean loss over an example's draws as its output function."""
    package, modelouts = peer("trak"), peer("trak.modelout_functions")

    class Loss(modelouts.AbstractModelOutput):
        def __init__(self):
            pass

        @staticmethod
        def get_output(model, weights, buffers, x, t, target):
            return ((torch.func.functional_call(model, (weights, buffers), (x, t)) - target) ** 2).mean()

        def get_out_to_loss_grad(self, model, weights, buffers, batch):
            return torch.ones(len(batch[0]), 1)

    traker = package.TRAKer(
        model,
        Loss(),
        train_set_size=N,
        save_dir=str(folder),
        device="cpu",
        projector=projector,
        use_half_precision=False,
        lambda_reg=ridge,
        logging_level=logging.ERROR,
    )
    train, queries = (
        [part.unflatten(0, (batch.examples, E)) for part in (*batch.inputs, batch.target)] for batch in sets
    )
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(train, num_samples=N)
    traker.finalize_features()
    traker.start_scoring_checkpoint("queries", model.state_dict(), model_id=0, num_targets=Q)
    traker.score(queries, num_samples=Q)
    return np.array(traker.finalize_scores("queries")).T


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Relative distance after the best common factor: 0 for proportional scores, 1 for unrelated ones."""
    found = found.astype(float)
    return np.linalg.norm(found * (found * exact).sum() / (found**2).sum() - exact) / np.linalg.norm(exact)


def test_without_a_projection_traker_scores_the_same(problem, tmp_path):
    """float32 there, float64 here: 1e-3 with a factor that is known. A ridge in other units is off by order 1."""
    model, sets, g, _, exact = problem
    count = g.shape[1]
    ridge = DAMPING * float(g.square().sum(1).mean()) / count
    projector = peer("trak.projectors").NoOpProjector(device="cpu")
    found = traker_scores(model, sets, projector, ridge, tmp_path)
    X = g.double() / count**0.5  # in another order of parameters, which a mean over entries does not see
    inverse = torch.linalg.inv(X.mT @ X + ridge * torch.eye(count))
    np.testing.assert_allclose(found * float(inverse.abs().mean()), exact, atol=1e-3 * np.abs(exact).max())


def test_projections_approach_the_exact_scores(problem, tmp_path):
    """The distance falls like K^(-1/2): 16 times the dims, a quarter of it (0.10 at 2048). A ridge that is 1/248 of the
    right one, for a lost P, leaves 0.34 and a ratio of 1.5.
    """
    model, sets, g, q, exact = problem
    count, seeds = g.shape[1], 6

    def projected(dims):
        distances = []
        for seed in range(seeds):
            ridge = DAMPING * float(g.square().sum(1).mean()) * dims / count
            projector = peer("trak.projectors").BasicProjector(
                grad_dim=count, proj_dim=dims, seed=seed, proj_type="normal", device="cpu", block_size=dims // 2
            )
            found = traker_scores(model, sets, projector, ridge, tmp_path / f"{dims}_{seed}")
            distances.append(distance(found, exact))
        return float(np.mean(distances))

    near, far = projected(2048), projected(128)
    assert near < 0.15
    assert far / near == pytest.approx(4, rel=0.3)
    assert distance((q @ g.mT).numpy(), exact) > 0.5  # 0.72 for the plain inner product
