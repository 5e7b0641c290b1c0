"""Scores by solving with the exact GGN, as the workflow runs them: what they agree with, what the receipt says of them,
and that a job that was stopped goes on as if it had not been.
"""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attribution.curvature.blocks import covered
from attribution.curvature.files import load_gradients
from attribution.curvature.flat import from_blocks, layout
from attribution.curvature.fresh import fresh
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import by_moments, second_moments
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.methods import ggn_solve
from attribution.steps import loading, score_solve

SOLVE = {"measurement": "loss", "steps": 600, "rows": 64, "learning_rate": 0.01, "tolerance": None}
METHODS = {
    "ggn_solve": SOLVE,
    "ggn_solve_few": SOLVE | {"steps": 60},
    "ggn_solve_wild": SOLVE | {"learning_rate": 300.0},
    "astra": SOLVE | {"steps": 300, "learning_rate": 0.05, "curvature": "model", "metric_damping": 0.1, "ridge": 0.001},
    "gradient_dot": {"measurement": "loss", "feature": "loss", "projection": "none"},
}
OUT = {"model": "full", "method": "ggn_solve_few"}


@pytest.fixture(scope="module")
def study(trained, tmp_path_factory):
    """Gradients and curvature of the full model, the training set in two parts."""
    gradients = {"draws": 20, "batch": 200, "shard": 30, "bits": 32, "outputs": 2}
    found = trained.copy(tmp_path_factory.mktemp("solve"), gradients=gradients, methods=METHODS)
    found.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    return found


def scores(study, method):
    study.make(f"results/tiny/scores/full/{method}")
    rule = "score_gradients" if method == "gradient_dot" else "score_solve"
    return study.tensors(rule, "scores", model="full", method=method)["scores"]


def agreement(one, other):
    """Mean over queries of the rank correlation over examples."""
    return np.mean([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])


@pytest.fixture(scope="module")
def exact(study):
    """Scores [Q, N] by a dense solve with the mean GGN of 5,120 rows, damped as training was."""
    scores(study, "ggn_solve_few")  # makes the gradients
    root, device = study.root / "results/tiny", torch.device("cpu")
    data = loading.examples(root / "data/images/train.safetensors", device)
    model = loading.single(root / "models/full/models.safetensors", study.config["denoiser"], data.shape, device)
    order, abar = layout(model, covered(model)), alphas_cumprod(study.config["diffusion"])

    def rows(stream, step, count):
        return fresh(data.images, abar, count, seed=1, stream=stream, step=step)

    eye = torch.eye(order.size)
    ggn = sum(ggn_product(model, order, rows("dense", step, 128), 128)(eye) for step in range(40)) / 40
    metric = by_moments(second_moments(model, order, (rows("moments", step, 64) for step in range(200))))
    damped = ggn + study.config["training"]["weight_decay"] * metric.times(eye)
    places = ["queries/loss/all", "train/loss/000_029", "train/loss/030_039"]
    files = [root / f"gradients/full/{place}/gradients.safetensors" for place in places]
    queries, *train = (from_blocks(model, dict(load_gradients(file).items()), "joint", order) for file in files)
    return (torch.linalg.solve(damped.double(), queries.double().T).T @ torch.cat(train).double().T).numpy()


@pytest.mark.parametrize(("method", "least"), [("ggn_solve", 0.95), ("astra", 0.88)])  # astra has another damping
def test_it_is_the_influence_of_the_whole_matrix(study, exact, method, least):
    """Over other rows than the solve met: ranks agree. Those of the plain product of gradients do by .84 alone."""
    found, plain = scores(study, method)[0], scores(study, "gradient_dot")[0]
    assert found.shape == exact.shape
    assert agreement(found, exact) > least
    assert agreement(plain, exact) < 0.86


def test_the_receipt_says_how_far_it_came(study):
    scores(study, "ggn_solve_few")
    scores(study, "ggn_solve")
    few, many = (
        study.receipt("score_solve", model="full", method=name)["notes"] for name in ("ggn_solve_few", "ggn_solve")
    )
    assert (few["steps"], many["steps"]) == (60, 600)
    assert 0 < many["residual"] < few["residual"] < 1
    assert [noted["step"] for noted in few["trace"]] == [50, 60]
    assert not (study.out("score_solve", **OUT) / "checkpoint.safetensors").exists()


def test_a_stopped_job_goes_on_as_if_it_had_not_been(study, tmp_path, monkeypatch):
    """The bytes of the undisturbed one, and no step done twice; from another job's checkpoint nothing is taken."""
    scores(study, "ggn_solve_few")
    file = study.out("score_solve", **OUT) / "scores.safetensors"
    undisturbed = file.read_bytes()
    other = study.copy(tmp_path, gradients=study.config["gradients"], methods=METHODS)
    saved = score_solve.save_tensors

    def stop(path, tensors, meta):
        saved(path, tensors, meta)
        raise KeyboardInterrupt

    monkeypatch.setattr(score_solve, "save_tensors", stop)
    with pytest.raises(KeyboardInterrupt):
        other.run("score_solve", **OUT)
    monkeypatch.undo()
    begun, solve = [], ggn_solve.solve

    def counted(operator, b, metric, chosen, state, look):
        begun.append(state.step)
        return solve(operator, b, metric, chosen, state, look)

    monkeypatch.setattr(ggn_solve, "solve", counted)
    other.run("score_solve", **OUT)
    assert begun == [50]
    assert (other.out("score_solve", **OUT) / "scores.safetensors").read_bytes() == undisturbed


def test_a_solve_that_diverges_is_one_line(study):
    with pytest.raises(StudyError, match=r"the solve diverges: at step \d+ .*Lower its learning rate"):
        scores(study, "ggn_solve_wild")
