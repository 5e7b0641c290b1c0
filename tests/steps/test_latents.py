"""The step that encodes: latents of the rows that would have been drawn as images, of files that dvc.lock names."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution.core.store import load_meta, load_tensors
from attribution.data import artbench, synthetic
from attribution.data.dataset import Dataset
from attribution.data.split import split
from attribution.diffusion import autoencoder
from attribution.workflow import fingerprint
from attribution.workflow.dvc import locked_md5

ROOT = Path(__file__).parents[2]
DATA = {"dataset": "artbench_tiny", "train": 30, "autoencoder": "tiny_autoencoder"}


def step(python, folder, **changes):
    spec = {"seed": 0, "data": DATA, "job": {}}
    spec |= {"dvc_md5": locked_md5(ROOT, DATA["dataset"]), "autoencoder_md5": locked_md5(ROOT, DATA["autoencoder"])}
    code = fingerprint.fingerprint(*fingerprint.roots("latents", None)).hash
    flags = ["--spec", json.dumps(spec | changes), "--code", code, "--lock", "0", "--out", "results/toy/data/images"]
    command = [*python, "-m", "attribution.steps.latents", *flags]
    if not (folder / "src").exists():  # a job's root is a checkout
        (folder / "src").symlink_to(ROOT / "src")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_latents_of_the_drawn_images(warm, tmp_path, monkeypatch):
    """From the archive to the files by the step; by hand from the same archive, image by image."""
    monkeypatch.setenv("DVC_STAGE", "toy")  # keeps DVC out: both files are built
    done = step(warm, tmp_path)
    assert done.returncode == 0, done.stderr
    whole = Dataset("artbench_tiny", "", "", *artbench.artbench(synthetic.artbench(tmp_path / "again.tar")))
    model = autoencoder.load(tmp_path / "data/tiny_autoencoder.safetensors", torch.device("cpu"))
    rows = split(whole, 0, DATA["train"])
    for name, expected in (("train", rows.train), ("heldout", rows.heldout)):
        path = tmp_path / f"results/toy/data/images/{name}.safetensors"
        found = load_tensors(path)
        assert found["index"].tolist() == expected.tolist()
        assert found["labels"].tolist() == whole.labels[expected].tolist()
        assert (found["images"].shape, found["images"].dtype) == ((len(expected), 4, 8, 8), np.float32)
        for row in (0, len(expected) - 1):
            one = autoencoder.encode(model, torch.from_numpy(whole.images[expected[row]][None]), 1)
            np.testing.assert_allclose(found["images"][row], one[0], rtol=1e-4, atol=1e-5)
        assert load_meta(path)["latents"] == "tiny_autoencoder"
    assert json.loads((path.parent / "receipt.json").read_text())["notes"]["spread"] > 0.01
    other = step(warm, tmp_path, autoencoder_md5="0" * 32)
    assert other.returncode == 1
    assert "data/tiny_autoencoder.safetensors: expected md5 000" in other.stderr
    unknown = step(warm, tmp_path, autoencoder_md5=None)
    assert "run: dvc repro tiny_autoencoder" in unknown.stderr
