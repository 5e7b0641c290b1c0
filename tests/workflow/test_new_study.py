"""`new study` writes a config that plans; docs/add-a-study.md is run as it stands there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from attribution.__main__ import main
from attribution.core.store import load_json, load_meta, load_tensors
from attribution.workflow import config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/add-a-study.md"


def pictures(folder: Path, count: int, shape: tuple[int, int] = (8, 8)) -> Path:
    """Grey images of two classes."""
    for number in range(count):
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 100, shape) + 100 * (number % 2)
        Image.fromarray(values.astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the command reads of a tree."""
    for name in ("workflow/schemas/study.schema.yaml", "workflow/rules/models.smk", "config/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> int:
    return main(["new", "study", *arguments])


def written(root: Path, name: str) -> dict:
    found = yaml.safe_load((root / f"config/{name}.yaml").read_text())
    config.load(root / f"config/{name}.yaml", root / "workflow/schemas/study.schema.yaml")
    return found


def test_a_study_of_digits_and_of_images(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("plain") == 0
    assert written(root, "plain")["data"] == {"dataset": "digits", "train": 500}
    assert "next: snakemake -n plain, then snakemake --cores all plain" in capsys.readouterr().out
    pictures(root / "some", 30)
    assert new("small", "--images", "some") == 0
    assert written(root, "small")["data"] == {"folder": "some", "train": 24}
    assert written(root, "small")["queries"] == {"heldout": 6}
    assert "some holds 30 images in 2 classes, of 8 x 8 pixels" in capsys.readouterr().out
    pictures(root / "it's: large", 120, (80, 90))
    assert new("large", "--images", "it's: large") == 0
    assert written(root, "large")["data"] == {"folder": "it's: large", "train": 100, "size": 32}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["Mine"], "Mine.yaml is no name of a study: write <name>.yaml, of small letters"),
        (["train"], "train.yaml is no name of a study"),
        (["gpu"], "gpu.yaml is no name of a study"),
        (["../mine"], "is no name of a study"),
        (["mine", "--images", "nowhere"], "nowhere: no such folder or archive"),
        (["mine", "--images", "config"], "config: holds no images"),
        (["taken"], "taken.yaml: there already; choose another name"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    (root / "config/taken.yaml").write_text("mine\n")
    before = sorted(root.rglob("*"))
    assert new(*arguments) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert [path for path in sorted(root.rglob("*")) if ".snakemake" not in path.parts] == before
    assert (root / "config/taken.yaml").read_text() == "mine\n"


def test_the_page_is_run_as_it_stands(
    tmp_path: Path,
    working_tree: Callable[[Path], Path],
    snakemake: Callable[..., SimpleNamespace],
    plain_environment: dict[str, str],
) -> None:
    """Its commands on 50 images: the plan of the defaults, the small study to its figures, what a picture changes."""
    tree = working_tree(tmp_path / "tree")
    pictures(tree / "pictures", 50)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    new_study, plan, run = (line for kind, block in blocks if not kind for line in block.splitlines())
    minimal, small = (block for kind, block in blocks if kind == "yaml")
    environment = plain_environment | {"PYTHONPATH": str(tree / "src")}
    command = [sys.executable, *shlex.split(new_study)[1:]]
    subprocess.run(command, cwd=tree, env=environment, check=True)
    made = yaml.safe_load((tree / "config/mine.yaml").read_text())
    assert made["data"] == yaml.safe_load(minimal)["data"]

    done = snakemake(tree, *shlex.split(plan)[1:])
    assert done.status == 0, done.text
    counts = dict(
        re.findall(r"^(\w+) +(\d+)$", done.text.partition("Job stats:\n")[2].partition("\n\n")[0], re.MULTILINE)
    )
    assert (counts["image_folder"], counts["lds"], counts["train"]) == ("1", "5", "8")
    assert "dataset" not in counts

    (tree / "config/mine.yaml").write_text(small)
    done = snakemake(tree, *shlex.split(run)[1:])
    assert done.status == 0, done.text
    results = tree / "results/mine"
    assert "lds.ekfac.generated" in load_json(results / "summary/numbers/numbers.json")
    train = load_tensors(results / "data/images/train.safetensors")
    assert train["images"].shape == (40, 1, 8, 8)
    with Image.open(sorted((tree / "pictures").rglob("*.png"))[train["index"][0]]) as first:
        np.testing.assert_allclose(train["images"][0, 0], np.asarray(first) / 127.5 - 1, atol=1e-6)
    assert set(train["labels"]) == {0, 1}
    assert load_meta(results / "data/images/train.safetensors")["dataset"] == "pictures"
    assert "pictures: images 50, classes 2" in (results / "logs/image_folder.log").read_text()
    assert "Nothing to be done" in snakemake(tree, "-n", "mine").text

    pictures(tree / "other", 2, (8, 8))
    (tree / "other/even/000.png").replace(tree / "pictures/odd/001.png")
    again = snakemake(tree, "-n", "mine").text
    assert re.search(r"^image_folder +1$", again, re.MULTILINE)
