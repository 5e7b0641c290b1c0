"""A tiny study, really run once in a copy of the working tree, and copies of that to edit and plan again.

Nothing here touches the working tree. A dry run is Snakemake itself, forked from a process that has it imported, as
its import is most of the 2 s that a dry run takes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[3]
STUDY = Path(__file__).with_name("tiny.yaml")

# Reads [folder, file for the output, arguments] from a line of stdin, answers with the exit status.
FORKING = """
import json, os, sys
import jsonschema, yaml
from snakemake import cli
cli.get_argument_parser()
for line in sys.stdin:
    folder, output, arguments = json.loads(line)
    if not (child := os.fork()):
        os.chdir(folder)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        cli.main(arguments)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of Snakemake's processes: no run around them, one thread, no mirror."""
    kept = {name: value for name, value in os.environ.items() if name not in ("ATTRIBUTION_GUARD", "PYTHONPATH")}
    return kept | {"OMP_NUM_THREADS": "1", "ATTRIBUTION_TRACKING": "off"}


@pytest.fixture(scope="session")
def working_tree() -> Callable[[Path], Path]:
    """Copies the working tree: what git tracks, and new files that it does not ignore."""

    def copy(target: Path) -> Path:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target / name)
        return target

    return copy


@pytest.fixture(scope="session")
def snakemake(environment: dict[str, str]) -> Callable[..., SimpleNamespace]:
    """Runs the installed Snakemake in a folder as a user does; status and text, stdout and stderr together."""

    def run(folder: Path, *arguments: str) -> SimpleNamespace:
        command = [sys.executable, "-m", "snakemake", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=folder, env=environment, text=True, **pipes)
        return SimpleNamespace(status=done.returncode, text=done.stdout)

    return run


@pytest.fixture(scope="session")
def dry_run(environment: dict[str, str]) -> Iterator[Callable[..., SimpleNamespace]]:
    """Runs `snakemake -n` with more arguments in a folder; status and text."""
    command = [sys.executable, "-c", FORKING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as server:

        def run(folder: Path, *arguments: str) -> SimpleNamespace:
            output = folder / ".dry_run.log"
            server.stdin.write(json.dumps([str(folder), str(output), ["-n", *arguments]]) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
            return SimpleNamespace(status=status, text=output.read_text())

        yield run
        server.stdin.close()


@pytest.fixture(scope="session")
def planned(dry_run: Callable[..., SimpleNamespace]) -> Callable[..., set[str]]:
    """The jobs that a dry run would run, as `rule` or `rule/cohort` or `rule/method`, without the target itself."""

    def plan(folder: Path, *arguments: str) -> set[str]:
        done = dry_run(folder, *arguments)
        assert done.status == 0, done.text
        found = {}
        for rule, block in re.findall(r"^(?:local)?rule (\w+):\n((?: .*\n)+)", done.text, re.MULTILINE):
            who = re.search(r"^    wildcards: .*?(?:cohort|method)=(\w+)", block, re.MULTILINE)
            study = re.search(r"^    wildcards: study=", block, re.MULTILINE)
            if study:
                found.setdefault(rule, []).append(f"{rule}/{who[1]}" if who else rule)
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
    snakemake: Callable[..., SimpleNamespace],
) -> Path:
    """A copy of the tree in which the tiny study, its only one, has been run from nothing to its figures."""
    tree = working_tree(tmp_path_factory.mktemp("tree"))
    for config in (tree / "config").glob("*.yaml"):
        config.unlink()
    shutil.copy(STUDY, tree / "config")
    (tree / "config/config.yaml").write_text("published: [tiny]\ngroups: {}\n")
    command = [sys.executable, "-m", "attribution.steps.build_dataset", "digits", "--out", "data/digits.safetensors"]
    subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree / "src")}, check=True)
    done = snakemake(tree, "--cores", "2", "tiny")
    assert done.status == 0, done.text
    return tree


@pytest.fixture
def tree(finished: Path, tmp_path: Path) -> Path:
    """The finished study, to edit."""
    return Path(shutil.copytree(finished, tmp_path / "tree"))


@pytest.fixture
def edit(tree: Path) -> Callable[[str, str, str], None]:
    """Replaces the one place of a text in a file of the tree; the file's time moves on, as an editor's save does."""

    def replace(name: str, old: str, new: str) -> None:
        path = tree / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new))

    return replace
