"""Unlearning through its steps: artifacts, flags, the same models in any cohort, scores that are the library's."""

import numpy as np
import pytest
import torch

from attribution.core.store import load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.steps import unlearned

METHODS = {
    "random": {},
    "mucs": {"unlearned": "mirrored", "bank": "main", "score": "skew", "floor": 0.001},
    "forward_inf": {"unlearned": "ascent", "bank": "main", "score": "difference", "floor": 0.0},
    "abu": {"unlearned": "newton", "bank": "main", "score": "difference", "floor": 0.0},
    "abu_plus": {"unlearned": "newton_ekfac", "bank": "main", "score": "difference", "floor": 0.0},
    "mucs_own": {"unlearned": "mirrored", "bank": "own", "score": "skew_of_means", "floor": 0.001},
}
QUERIES, TRAIN = 12, 40


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    study = trained.copy(tmp_path_factory.mktemp("unlearning"), methods=METHODS)
    study.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    for method in METHODS:
        study.make(f"results/tiny/scores/full/{method}")
    return study


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
def test_every_method_scores_every_pair(made, method: str) -> None:
    """[1, Q, N] of finite values that differ from query to query and from example to example."""
    scores = made.tensors("score_unlearning", "scores", model="full", method=method)["scores"]
    assert scores.shape == (1, QUERIES, TRAIN)
    assert np.isfinite(scores).all()
    assert (scores[0].std(0) > 0).all()
    assert (scores[0].std(1) > 0).all()


def test_a_cohort_changes_nothing(made, trained, tmp_path) -> None:
    """Queries unlearned 7 and 5 at a time, and all 12 at once: the same models."""
    whole = trained.copy(tmp_path, methods=METHODS, unlearning=made.config["unlearning"] | {"cohort": QUERIES})
    whole.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    whole.make("results/tiny/unlearned/mirrored/all")
    found = whole.tensors("unlearn", "models", unlearned="mirrored", part="all")
    parts = [made.tensors("unlearn", "models", unlearned="mirrored", part=part) for part in ("000_006", "007_011")]
    for name, value in found.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), value, rtol=1e-4, atol=1e-6)


def test_files_tell_how_it_went(made) -> None:
    """Four steps are the cap here: every query meets it, and the receipt says so."""
    about = made.tensors("unlearn", "models", unlearned="mirrored", part="000_006")
    assert (about["steps"] == 4).all()
    assert not about["reached"].any()
    assert (about["query_after"] != about["query_before"]).all()
    notes = made.receipt("unlearn", unlearned="mirrored", part="000_006")["notes"]
    assert (notes["capped"], notes["without_a_step"], notes["null"]) == (7, 0, 1.0)
    assert set(load_tensors(made.out("unlearn", unlearned="mirrored", part="000_006") / "models.safetensors")) == {
        *("steps", "reached", "forget", "query_before", "query_after", "train_before", "train_after"),
        *(f"weights/{name}.{part}" for name in ("hidden.0", "outer") for part in ("weight", "bias")),
    }


def test_newton_moves_uphill(made) -> None:
    for kind in ("newton", "newton_ekfac"):
        about = made.tensors("unlearn_newton", "models", unlearned=kind, part="000_006")
        assert (about["query_after"] > about["query_before"]).mean() > 0.5


def test_an_altered_bank_is_refused(made, tmp_path) -> None:
    """The losses would be of other noise than the unlearned models meet."""
    path = made.out("reference", bank="main") / "reference.safetensors"
    tensors, device = load_tensors(path), torch.device("cpu")
    bank, losses = unlearned.load_reference(path, device)
    assert losses.shape == (TRAIN, 8)
    meta = {"seed": bank.seed, "name": bank.name, "shared": bank.shared, "digest": bank.digest()}
    save_tensors(tmp_path / "reference.safetensors", tensors | {"eps": tensors["eps"] + 1}, meta)
    with pytest.raises(StudyError, match="not the bank"):
        unlearned.load_reference(tmp_path / "reference.safetensors", device)
