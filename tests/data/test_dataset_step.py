"""The step that draws: its two files agree with the dataset's rows, and no loader is part of its identity."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from attribution.core.store import load_meta, load_tensors
from attribution.data import digits
from attribution.errors import StudyError
from attribution.steps import build_dataset
from attribution.workflow import datasets, fingerprint
from attribution.workflow.config import schema_in
from attribution.workflow.dvc import file_md5, locked_md5

ROOT = Path(__file__).parents[2]


def step(folder, spec, src=True):
    if src:
        (folder / "src").symlink_to(fingerprint.SOURCE)
    code = fingerprint.fingerprint(*fingerprint.roots("dataset", None)).hash
    flags = ["--spec", json.dumps(spec), "--code", code, "--lock", "0", "--out", "results/toy/data"]
    command = [sys.executable, "-m", "attribution.steps.dataset", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def spec(monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "toy")  # keeps DVC out: the file is built
    data = {"dataset": "digits", "train": 1000}
    md5 = locked_md5(ROOT, "digits")
    return {"seed": 0, "data": data, "dvc_md5": md5, "job": {}}


def test_both_files_hold_the_datasets_rows(tmp_path, spec):
    done = step(tmp_path, spec)
    assert done.returncode == 0, done.stderr
    whole, rows = digits.load(), []
    for name, size in (("train", 1000), ("heldout", 797)):
        path = tmp_path / "results/toy/data" / f"{name}.safetensors"
        found = load_tensors(path)
        assert found["images"].shape == (size, 1, 8, 8)
        assert found["index"].dtype == np.int64
        np.testing.assert_array_equal(found["images"], whole.images[found["index"]])
        np.testing.assert_array_equal(found["labels"], whole.labels[found["index"]])
        assert load_meta(path)["licence"] == "CC BY 4.0"
        rows += list(found["index"])
    assert sorted(rows) == list(range(1797))


def test_a_dataset_file_of_other_content_stops_the_step(tmp_path, spec):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits.safetensors").write_bytes(b"something else")
    done = step(tmp_path, spec)
    assert done.returncode == 1
    assert "data/digits.safetensors: expected md5" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_step_outside_of_a_checkout_says_so(tmp_path, spec):
    """One line: the folder that holds no src/ is no checkout, and no traceback says that well."""
    done = step(tmp_path, spec, src=False)
    assert done.returncode == 1
    assert "not from src: see to PYTHONPATH" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_edit_in_a_loader_invalidates_no_draw():
    """The bytes of the dataset do; with the loaders in the closure, every model would be trained again."""
    modules = fingerprint.fingerprint(*fingerprint.roots("dataset", None)).modules
    assert "attribution.data.split" in modules
    assert not {"attribution.data.cifar", "attribution.data.digits", "attribution.steps.build_dataset"} & set(modules)


def test_every_dataset_is_known_everywhere():
    """Schema and stage of dvc.yaml; a name that one lacks stops a study late."""
    schema = schema_in(ROOT / "workflow/schemas/study.schema.yaml")["properties"]["data"]["properties"]
    names = set(schema["dataset"]["enum"])
    assert names == datasets.declared().keys()
    assert {"digits", "cifar2", "cifar10", "mnist", "artbench"} < names
    assert set(schema["autoencoder"]["enum"]) == build_dataset.AUTOENCODERS.keys()
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in names | build_dataset.AUTOENCODERS.keys():
        assert stages[name]["cmd"] == f"python -m attribution.steps.build_dataset {name} --out data/{name}.safetensors"
        assert all((ROOT / path).is_file() for path in stages[name]["deps"])
        assert (locked_md5(ROOT, name) is not None) == (name == "digits" or "tiny" in name)


@pytest.mark.parametrize("name", ["cifar2_tiny", "mnist_tiny", "artbench_tiny"])
def test_tiny_datasets_are_those_of_the_lock(tmp_path, name):
    """Their archives are made anew; the numbers of images are as declared, which the build itself checks."""
    build_dataset.build(name, tmp_path / "data.safetensors")
    assert file_md5(tmp_path / "data.safetensors") == locked_md5(ROOT, name)


def test_images_that_are_not_as_declared_are_not_written(tmp_path, monkeypatch):
    """Configs are checked against what is declared: a wrong number would stop a study in its first job."""
    monkeypatch.setitem(datasets.declared()["digits"], "images", 1798)
    with pytest.raises(StudyError, match=r"digits: its source holds images \(1797, 1, 8, 8\), declared are \(1798, "):
        build_dataset.build("digits", tmp_path / "out")
    assert not (tmp_path / "out").exists()
