"""A tiny study, really run once in a copy of the working tree, and copies of that to edit and plan again.

Nothing here touches the working tree. Snakemake and the steps are run by their commands, through warm.py: the import of
their libraries is most of what a tiny study costs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

CONFIG = "config/tiny.yaml"
OTHER = Path(__file__).with_name("tiny.yaml")


@pytest.fixture(scope="session")
def planned(snakemake: Callable[..., SimpleNamespace]) -> Callable[..., set[str]]:
    """The jobs that a dry run would run, as `rule` or `rule/<wildcards but the study>`, without the target itself."""

    def plan(folder: Path, *arguments: str) -> set[str]:
        done = snakemake(folder, "-n", *arguments)
        assert done.status == 0, done.text
        found = {}
        for rule, block in re.findall(r"^(?:local)?rule (\w+):\n((?: .*\n)+)", done.text, re.MULTILINE):
            wildcards = re.search(r"^    wildcards: study=tiny(.*)$", block, re.MULTILINE)
            if wildcards:
                values = re.findall(r", \w+=(\w+)", wildcards[1])
                found.setdefault(rule, []).append("/".join([rule, *filter(None, ["_".join(values)])]))
        table = done.text.partition("Job stats:\n")[2].partition("\n\n")[0]
        counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        assert {rule: len(jobs) for rule, jobs in found.items()} == {
            rule: count for rule, count in counts.items() if rule in found
        }
        assert sum(map(len, found.values())) == max(0, counts.get("total", 0) - 1)  # the target is the one left out
        return {job for jobs in found.values() for job in jobs}

    return plan


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    working_tree: Callable[[Path], Path],
    cut_down: Callable[[Path, Path], Path],
    snakemake: Callable[..., SimpleNamespace],
) -> Path:
    """A copy of the tree in which the tiny study, its only one, has been run from nothing to its figures.

    The environment's STUDY names one of config/ to take instead, for tests that take minutes more.
    """
    tree, study = working_tree(tmp_path_factory.mktemp("tree")), os.environ.get("STUDY", "tiny")
    if study == "tiny":
        cut_down(tree, OTHER)
    done = snakemake(tree, "--cores", "2", study)
    assert done.status == 0, done.text
    return tree


@pytest.fixture
def tree(finished: Path, tmp_path: Path) -> Path:
    """The finished study, to edit."""
    return Path(shutil.copytree(finished, tmp_path / "tree"))


@pytest.fixture
def edit(tree: Path) -> Callable[[str, str, str], None]:
    """Replaces the one place of a text in a file of the tree, or, where it is empty, adds to the file's end."""

    def replace(name: str, old: str, new: str) -> None:
        path = tree / name
        text = path.read_text()
        if old:
            assert text.count(old) == 1, f"{name}: {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new) if old else text + new)

    return replace


@pytest.fixture
def configure(tree: Path) -> Callable[[Callable[[dict], object]], None]:
    """Changes the study's config by a function of it."""

    def write(change: Callable[[dict], object]) -> None:
        config = yaml.safe_load((tree / CONFIG).read_text())
        before = yaml.safe_dump(config)
        change(config)
        assert yaml.safe_dump(config) != before
        (tree / CONFIG).write_text(yaml.safe_dump(config))

    return write


@pytest.fixture(scope="session")
def attribution(plain_environment: dict[str, str]) -> Callable[..., SimpleNamespace]:
    """`python -m attribution` in a tree; status, text and errors."""

    def run(tree: Path, *arguments: str) -> SimpleNamespace:
        environment = plain_environment | {"PYTHONPATH": str(tree / "src")}
        command = [sys.executable, "-m", "attribution", *arguments]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        return SimpleNamespace(status=done.returncode, text=done.stdout, error=done.stderr)

    return run
