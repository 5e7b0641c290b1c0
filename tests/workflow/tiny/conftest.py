"""A tiny study, really run once in a copy of the working tree, and copies of that to edit and plan again.

Nothing here touches the working tree. Snakemake and the steps are run by their commands, through warm.py: the import of
their libraries is most of what a tiny study costs.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONFIG = "config/tiny.yaml"
OTHER = Path(__file__).with_name("tiny.yaml")
WARM = Path(__file__).with_name("warm.py")


@pytest.fixture(scope="session")
def plain_environment() -> dict[str, str]:
    """Of Snakemake's processes: no run around them, one thread, no mirror."""
    kept = {name: value for name, value in os.environ.items() if name not in ("ATTRIBUTION_GUARD", "PYTHONPATH")}
    return kept | {"OMP_NUM_THREADS": "1", "ATTRIBUTION_TRACKING": "off"}


@pytest.fixture(scope="session")
def warm(plain_environment: dict[str, str]) -> Iterator[list[str]]:
    """A command that stands for `python`."""
    with tempfile.TemporaryDirectory() as folder:  # a short path, as a socket needs one
        address = f"{folder}/socket"
        command = [sys.executable, WARM, "serve", address]
        with subprocess.Popen(command, env=plain_environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "ready\n"
            yield [sys.executable, "-IS", str(WARM), address]
            server.kill()


@pytest.fixture(scope="session")
def environment(
    warm: list[str], plain_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Of Snakemake's processes; in the shell of a job `python` is the warm one."""
    function = tmp_path_factory.mktemp("shell") / "python.sh"
    function.write_text(f'python() {{ {shlex.join(warm)} "$@"; }}\n')
    return plain_environment | {"BASH_ENV": str(function)}


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
def snakemake(warm: list[str], environment: dict[str, str]) -> Callable[..., SimpleNamespace]:
    """Runs `snakemake` with arguments in a folder; status and text, stdout and stderr together."""

    def run(folder: Path, *arguments: str) -> SimpleNamespace:
        command = [*warm, "-m", "snakemake", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return SimpleNamespace(status=done.returncode, text=done.stdout)

    return run


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
    snakemake: Callable[..., SimpleNamespace],
    warm: list[str],
) -> Path:
    """A copy of the tree in which the tiny study, its only one, has been run from nothing to its figures."""
    tree = working_tree(tmp_path_factory.mktemp("tree"))
    smoke, other = (yaml.safe_load(path.read_text()) for path in (tree / "config/smoke.yaml", OTHER))
    del smoke["ablation"]  # an optional section: this study is one without it
    methods = {"methods": {name: smoke["methods"][name] for name in other.pop("methods")}}
    merged = {key: value | other.get(key, {}) if isinstance(value, dict) else value for key, value in smoke.items()}
    for config in (tree / "config").glob("*.yaml"):
        if config.stem != "claims":
            config.unlink()
    (tree / CONFIG).write_text(yaml.safe_dump(merged | methods | {"title": other["title"]}))
    (tree / "config/config.yaml").write_text("published: [tiny]\ngroups: {}\n")
    command = [*warm, "-m", "attribution.steps.build_dataset", "digits", "--out", "data/digits.safetensors"]
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
