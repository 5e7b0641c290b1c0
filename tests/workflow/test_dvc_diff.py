"""How published numbers moved from one commit to another, as DVC shows it by the project's dvc.yaml, from git alone."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from attribution.provenance.ledger import published_studies

ROOT = Path(__file__).parents[2]
PLACE = Path("results/published")
WHO = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
KINDS = ("generated", "heldout", "training")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """`git` or `dvc` with arguments in the small repository; what it printed."""

    def call(program: str, *arguments: str) -> str:
        command = ["git", *WHO] if program == "git" else [sys.executable, "-m", "dvc"]
        environment = os.environ | {"DVC_NO_ANALYTICS": "true"}
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_every_published_study_has_its_metrics() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert set(stages["metrics"]) == {f"{PLACE}/{study}/numbers.json" for study in published_studies(ROOT)}


def test_numbers_and_plots_of_two_commits_are_compared(tmp_path: Path, run) -> None:
    own = [f"{study}/{name}" for study in published_studies(ROOT) for name in ("numbers.json", "tables/lds.csv")]
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config", *(f"{PLACE}/{name}" for name in own)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    run("git", "init", "--quiet")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "As published")

    path = tmp_path / PLACE / "digits/numbers.json"
    numbers = json.loads(path.read_text())
    old = numbers["lds.ekfac.heldout"]["value"]
    numbers["lds.ekfac.heldout"]["value"] = old + 0.125
    path.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    table = tmp_path / PLACE / "digits/tables/lds.csv"
    rows = list(csv.DictReader(table.open()))
    (row,) = (row for row in rows if row["method"] == "ekfac")
    before = {kind: float(row[kind]) for kind in KINDS}
    assert before["heldout"] == pytest.approx(old)
    row["heldout"] = str(old + 0.125)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    run("git", "commit", "--quiet", "--all", "--message", "Another value")

    moved = json.loads(run("dvc", "metrics", "diff", "HEAD~1", "HEAD", "--json"))
    assert moved == {
        f"{PLACE}/digits/numbers.json": {
            "lds.ekfac.heldout.value": {"old": old, "new": old + 0.125, "diff": pytest.approx(0.125)}
        }
    }
    shown = json.loads(run("dvc", "plots", "diff", "HEAD~1", "HEAD", "--json"))
    assert shown.keys() == {"data"}  # no errors
    for kind in KINDS:
        (plot,) = (one["content"] for one in shown["data"][f"lds_{kind}"])
        assert (plot["encoding"]["x"]["field"], plot["encoding"]["y"]["field"]) == (kind, "method")
        bars = plot["data"]["values"]
        values = {bar["rev"]: float(bar[kind]) for bar in bars if bar["method"] == "ekfac"}
        after = old + 0.125 if kind == "heldout" else before[kind]
        assert values == {"HEAD~1": pytest.approx(before[kind]), "HEAD": pytest.approx(after)}
        assert len(bars) == 2 * len(rows)
