"""DVC carries a finished study, its receipts among it, to another clone, which then has nothing to do, and knows it;
what an edit makes stale there is planned.

Without the pull every job is to do: no result is in git. A wrong claim of either kind would be silent.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute
STAGES = ("digits", "digits_study")
WHO = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture
def run(plain_environment: dict[str, str]) -> Callable[..., str]:
    """A command in a folder, by its words; what it printed."""

    def call(folder: Path, *words: str) -> str:
        environment = plain_environment | {"DVC_NO_ANALYTICS": "true", "PYTHONPATH": str(folder / "src")}
        program = {"dvc": [sys.executable, "-m", "dvc"], "git": ["git", *WHO], "python": [sys.executable]}
        command = [*program[words[0]], *words[1:]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    return call


def test_a_clone_with_what_was_pushed_has_nothing_to_do(tree: Path, tmp_path: Path, run, planned) -> None:
    stages = (tree / "dvc.yaml").read_text()
    stages = stages.replace("config/digits.yaml", "config/tiny.yaml").replace("results/digits", "results/tiny")
    (tree / "dvc.yaml").write_text(stages.replace("snakemake --cores all digits", "snakemake --cores all tiny"))
    run(tree, "git", "init", "--quiet")
    run(tree, "dvc", "remote", "add", "--default", "elsewhere", str(tmp_path / "remote"))
    run(tree, "dvc", "commit", "--quiet", "--force", *STAGES)
    run(tree, "git", "add", "--all")
    run(tree, "git", "commit", "--quiet", "--message", "The study has run")
    assert not [name for name in run(tree, "git", "ls-files", "results").split() if "published" not in name][1:]
    run(tree, "dvc", "push", "--quiet", *STAGES)
    assert json.loads(run(tree, "dvc", "status", "--json", *STAGES)) == {}

    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(tree), str(clone))
    every = planned(clone, "--forceall", "tiny")
    assert planned(clone) == planned(clone, "tiny") == every
    run(clone, "dvc", "pull", "--quiet", *STAGES)
    assert planned(clone) == planned(clone, "tiny") == set()
    claims, config = clone / "config/claims.yaml", clone / "config/tiny.yaml"
    kept = claims.read_text(), config.read_text()
    claims.write_text(kept[0] + "# More.\n")
    os.utime(claims, (1_000_000_000, 1_000_000_000))
    assert planned(clone) == {"tables"}
    config.write_text(kept[1].replace("\nseed: 0\n", "\nseed: 1\n"))
    assert planned(clone) == every
    claims.write_text(kept[0])
    config.write_text(kept[1])
    assert planned(clone) == set()
    assert json.loads(run(clone, "dvc", "status", "--json", *STAGES)) == {}
    assert json.loads(run(clone, "python", "-m", "attribution", "audit", "tiny", "--json"))["ok"]
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json", "results/tiny/summary/numbers/numbers.json"))
    (numbers,) = (entry["data"] for entry in shown[""]["data"].values())
    own = json.loads((tree / "results/tiny/summary/numbers/numbers.json").read_text())
    assert {key: entry["value"] for key, entry in numbers.items()} == {
        key: entry["value"] for key, entry in own.items()
    }
