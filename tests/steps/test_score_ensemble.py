"""Scores of models of other seeds, averaged into one file; members that do not belong together."""

import numpy as np
import pytest

from attribution.core.store import load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job
from attribution.steps import score_ensemble

DAMPINGS = [0.1, 1.0]


def members(folder, count=3, dampings=DAMPINGS):
    paths = []
    for index in range(count):
        scores = np.random.default_rng(index).normal(size=(2, 3, 4)).astype("float32")
        paths.append(folder / f"{index}.safetensors")
        save_tensors(paths[-1], {"scores": scores} | ({"dampings": dampings} if dampings else {}))
    return paths


def run(folder, paths):
    score_ensemble.run(Job("score_ensemble", {}, folder, {"scores": paths}, "id"))
    return load_tensors(folder / "scores.safetensors")


@pytest.mark.parametrize("dampings", [DAMPINGS, None])
def test_mean_with_the_members_dampings(tmp_path, dampings):
    paths = members(tmp_path, dampings=dampings)
    found = run(tmp_path, paths)
    expected = sum(load_tensors(path)["scores"].astype(float) for path in paths) / 3
    assert found["scores"].dtype == np.float32
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-6, atol=1e-7)
    assert found.keys() == ({"scores", "dampings"} if dampings else {"scores"})
    assert dampings is None or found["dampings"].tolist() == dampings


def test_order_does_not_matter(tmp_path):
    paths = members(tmp_path)
    one, other = run(tmp_path, paths), run(tmp_path, paths[::-1])
    np.testing.assert_allclose(one["scores"], other["scores"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"scores": np.zeros((2, 3, 5), "float32"), "dampings": DAMPINGS}, r"\[2, 3, 5\], those of .* \[2, 3, 4\]"),
        ({"scores": np.zeros((2, 3, 4), "float32"), "dampings": [0.1, 2.0]}, "its dampings are not those of"),
        ({"scores": np.zeros((2, 3, 4), "float32")}, "its dampings are not those of"),
    ],
)
def test_members_that_differ(tmp_path, other, problem):
    paths = members(tmp_path)
    save_tensors(paths[1], other)
    with pytest.raises(StudyError, match=rf"1\.safetensors.*{problem}"):
        run(tmp_path, paths)
    assert not (tmp_path / "scores.safetensors").exists()


def test_no_members(tmp_path):
    with pytest.raises(StudyError, match="one file or more"):
        run(tmp_path, [])
