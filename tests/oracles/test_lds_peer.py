"""The linear datamodelling score against dattri 0.3.0's, from retrained models on disk to one number a query.

dattri sums scores over the examples a model has seen and negates the measured loss, this project sums over those that
it has not seen and keeps the loss: for subsets of one size the two signs cancel. dattri's scores are [N, Q].

Shape letters: N training examples, Q queries, R replicates, S subsets.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from attribution.evaluation.lds import group_prediction, mean_outcome, spearman

N, Q, R, S = 30, 8, 3, 25


@pytest.fixture(scope="module")
def metric():
    """dattri.metric, or a failure that says how to get it."""
    try:
        return importlib.import_module("dattri.metric")
    except ImportError as error:
        pytest.fail(f"dattri cannot be imported ({error}): run `make test`, which installs the peers into .peers")


@pytest.fixture(params=[0, 1])
def study(request):
    """Masks [S, N] of half of the examples, outcomes [R, S, Q] and scores [Q, N], with ties; seed 1 without noise.

    Everything is a multiple of 1/4, so that dattri's float32 losses and sums in any order hold the same ranks.
    """
    generator = np.random.default_rng(request.param)
    masks = np.argsort(generator.random((S, N)), axis=1) < N // 2
    scores = generator.integers(-8, 9, (Q, N)) / 4
    truth = (~masks).astype(float) @ scores.T + 10
    noise = 0 if request.param else generator.integers(-40, 41, (R, S, Q)) / 4
    return masks, truth + noise * np.ones((R, S, Q)), scores


def lds(masks: np.ndarray, outcomes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The whole chain: masks [S, N], outcomes [R, S, Q], scores [Q, N] -> score of each query, [Q]."""
    prediction, measured = group_prediction(masks, scores), mean_outcome(outcomes)
    return spearman(prediction, measured, axis=0)


def retrained(folder: Path, masks: np.ndarray, outcomes: np.ndarray) -> None:
    """The folder that dattri's retrain_lds leaves; a checkpoint is the losses of its model."""
    folders = {s: str(folder / str(s)) for s in range(S)}
    for s in range(S):
        (folder / str(s)).mkdir()
        (folder / str(s) / "indices.txt").write_text("\n".join(map(str, np.flatnonzero(masks[s]))))
        for r in range(R):
            np.savetxt(folder / str(s) / f"model_weights_{r}.pt", outcomes[r, s])
    contents = {"num_subsets": S, "num_runs_per_subset": R, "subset_dir_map": folders}
    (folder / "metadata.yml").write_text(yaml.safe_dump(contents))


def test_dattri_scores_the_same_models_alike(metric, study, tmp_path):
    """Two codes of ranks, ties included: 1e-9. The other sign, or ranks of ties in order, are off by more than 0.01."""
    masks, outcomes, scores = study
    retrained(tmp_path, masks, outcomes)
    truth = metric.calculate_lds_ground_truth(
        lambda path, _: torch.from_numpy(np.loadtxt(path)),
        tmp_path,
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(Q))),
    )
    expected, _ = metric.lds(torch.from_numpy(scores.T.copy()), truth)
    found = lds(masks, outcomes, scores)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-9)
    assert (found > 0.2).all()
    flipped, _ = metric.lds(torch.from_numpy(scores.T.copy()), (-truth[0], truth[1]))
    np.testing.assert_allclose(lds(masks, outcomes, -scores), flipped.numpy(), atol=1e-9)
