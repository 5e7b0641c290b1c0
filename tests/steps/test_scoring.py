"""Scores that have another form than expected end their job with one line that names the method."""

from pathlib import Path

import numpy as np
import pytest

from attribution.core.store import load_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job
from attribution.steps import scoring

Q, N = 3, 5


def job(out: Path, **settings) -> Job:
    spec = {"methods": {"mine": settings}, "job": {"method": "mine", "module": "trak", "function": "das"}}
    return Job("score_gradients", spec, out, {}, "id")


def saved(out: Path, scores, **settings) -> dict[str, np.ndarray]:
    scoring.save(job(out, **settings), scores, Q, N)
    return load_tensors(out / "scores.safetensors")


def test_layers_dampings_and_type(tmp_path: Path) -> None:
    found = saved(tmp_path, np.ones((2, Q, N)), dampings=[0.1, 1.0])
    assert (found["scores"].shape, found["scores"].dtype) == ((2, Q, N), np.float32)
    assert found["dampings"].tolist() == [0.1, 1.0]
    found = saved(tmp_path, np.arange(Q * N).reshape(Q, N))
    assert found.keys() == {"scores"}
    assert found["scores"].shape == (1, Q, N)


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (np.ones((N, Q)), {}, r"mine: its scores are \[5, 3\]; expected \[L, 3, 5\] \(dampings, queries, training"),
        (np.ones((1, Q, N - 1)), {}, r"mine: its scores are \[1, 3, 4\]; expected"),
        (np.ones(N), {}, r"mine: its scores are \[5\]; expected"),
        (np.ones((1, Q, N)), {"dampings": [0.1, 1.0]}, r"are \[1, 3, 5\]; expected \[2, 3, 5\]"),
        (np.ones((Q, N)), {"dampings": [0.1, 1.0]}, r"are \[3, 5\]; expected \[2, 3, 5\]"),
        (np.full((Q, N), "a"), {}, "mine: its scores are <U1; expected numbers"),
        (
            np.where(np.eye(Q, N) > 0, np.nan, 1.0),
            {},
            "3 of its scores are not finite, the first of query 0 and training",
        ),
    ],
)
def test_another_form_is_refused(tmp_path: Path, scores, settings, message) -> None:
    with pytest.raises(StudyError, match=message):
        saved(tmp_path, scores, **settings)
    assert not list(tmp_path.iterdir())


def test_the_function_of_the_name_or_score(tmp_path: Path) -> None:
    assert scoring.function(job(tmp_path)).__name__ == "das"
    other = job(tmp_path)
    other.spec["job"]["function"] = "dtrak"
    assert scoring.function(other).__name__ == "score"
