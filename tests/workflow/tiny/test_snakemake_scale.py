"""The tiny form of each GPU study, from its synthetic archive to its figures, by the rules of the whole study."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.core.store import load_meta, load_tensors
from attribution.provenance import receipt

GPU = ("cifar2", "cifar10", "mnist", "artbench")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, working_tree: Callable[[Path], Path]) -> Path:
    return working_tree(tmp_path_factory.mktemp("scale"))


@pytest.mark.slow
@pytest.mark.parametrize("study", GPU)
def test_runs_from_archive_to_figures(clone: Path, snakemake: Callable[..., SimpleNamespace], study: str) -> None:
    """Nothing is written for the whole study, and a second run has nothing to do."""
    done = snakemake(clone, "--cores", "2", study, "--config", "scale=tiny")
    assert done.status == 0, done.text
    results = clone / "results" / f"{study}_tiny"
    assert not (clone / "results" / study).exists()
    numbers = json.loads((results / "summary/numbers/numbers.json").read_text())
    assert {"lds.ekfac.generated", "lds.ceiling.generated"} <= numbers.keys()
    assert (results / "summary/figures/lds_by_method.png").stat().st_size > 1000
    notes = receipt.read(results / "models/full")["notes"]
    assert notes["precision"] == "bf16"
    images = load_tensors(results / "data/images/train.safetensors")["images"]
    shape = {"mnist": (1, 32, 32), "artbench": (4, 8, 8)}.get(study, (3, 32, 32))
    assert images.shape[1:] == shape
    if study == "artbench":
        assert load_meta(results / "data/images/train.safetensors")["latents"] == "tiny_autoencoder"
        assert abs(load_tensors(results / "queries/all/queries.safetensors")["images"]).max() > 1  # nothing is clipped
    if study == "mnist":
        assert (results / "ablation/all/ablation.json").exists()
    again = snakemake(clone, "-n", study, "--config", "scale=tiny")
    assert "Nothing to be done" in again.text
