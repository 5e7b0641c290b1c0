"""The digits are scikit-learn's, in its order, scaled exactly, and their file is the same bytes every time."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from attribution.data import dataset, digits
from attribution.errors import StudyError


def test_pixels_and_labels_are_the_sources():
    found, raw = digits.load(), load_digits()
    assert found.images.shape == (1797, 1, 8, 8)
    assert found.images.min() == -1.0
    assert found.images.max() == 1.0
    # Exact: multiples of 1/8. A division by 15 or 255, or float64 pixels rounded elsewhere, would miss by > 1e-3.
    np.testing.assert_array_equal((found.images[:, 0] + 1.0) * 8.0, raw.images)
    np.testing.assert_array_equal(found.labels, raw.target)
    assert not found.split.any()


def test_file_is_the_same_bytes_from_two_processes_and_reads_back(tmp_path):
    for name in ("one", "two"):
        command = [sys.executable, "-m", "attribution.steps.build_dataset", "digits", "--out", tmp_path / name]
        subprocess.run(command, check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back, made = dataset.load(tmp_path / "one"), digits.load()
    for field in made._fields:
        np.testing.assert_array_equal(getattr(back, field), getattr(made, field))
    assert (back.name, back.licence) == ("digits", "CC BY 4.0")
    assert back.images.dtype == np.float32
    assert back.labels.dtype == np.int64
    assert back.split.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"labels": np.zeros(3, np.int64)}, "disagree in shape"),
        ({"labels": np.zeros(1797, np.int32)}, r"must be float32 \(or uint8\), int64, uint8"),
        ({"images": np.full((1797, 1, 8, 8), 1.5, np.float32)}, r"not in \[-1, 1\]"),
        ({"images": np.full((1797, 1, 8, 8), np.nan, np.float32)}, r"not in \[-1, 1\]"),
    ],
)
def test_a_dataset_that_is_not_as_documented_is_not_written(tmp_path, change, line):
    made = dataset.Dataset("digits", "here", "none", *digits.load())
    with pytest.raises(StudyError, match=line):
        dataset.save(tmp_path / "bad", dataclasses.replace(made, **change))
    assert not (tmp_path / "bad").exists()


def test_unknown_dataset_names_the_known_ones(tmp_path):
    command = [sys.executable, "-m", "attribution.steps.build_dataset", "digitss", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "choose from" in done.stderr
    assert "digits" in done.stderr
