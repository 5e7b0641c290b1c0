"""A real Slurm on this host, and a tree with a tiny study that runs there as README.md says.

Where Slurm is not installed or cannot be started, the tests that need it are skipped with the reason.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name.removeprefix('slurm_')}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


clusters, runs, tables = (load(f"slurm_{name}") for name in ("cluster", "runs", "tables"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    """The cluster, for all tests."""
    found = clusters.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
    except clusters.Unavailable as error:
        pytest.skip(f"no Slurm here: {error}")
    yield found
    found.stop()


@pytest.fixture(scope="session")
def study(
    working_tree: Callable[[Path], Path],
    cut_down: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Path]:
    """Makes a tree whose one study is that of tiny.yaml, not run yet."""
    return lambda: cut_down(working_tree(tmp_path_factory.mktemp("tree")), HERE / "tiny.yaml")


@pytest.fixture(scope="session")
def outputs_of(untimed: Callable[[Any], Any]) -> Callable[[Path], dict[str, str]]:
    """SHA-256 of every output in a tree, by its path."""
    return lambda tree: runs.outputs(tree, untimed)


@pytest.fixture(scope="session")
def local(
    study: Callable[[], Path], snakemake: Callable[..., SimpleNamespace], outputs_of: Callable[[Path], dict[str, str]]
) -> dict[str, str]:
    """The outputs of a run on this host without Slurm."""
    tree = study()
    done = snakemake(tree, "--cores", "2", "tiny")
    assert done.status == 0, done.text
    return outputs_of(tree)


@pytest.fixture(scope="session")
def whole(cluster: clusters.Cluster, plain_environment: dict[str, str]) -> Callable[[Path, str], runs.Run]:
    """Runs a study of a tree on the cluster to its end, undisturbed."""
    return lambda tree, study: runs.finish(runs.Run(tree, cluster, plain_environment, study))


@pytest.fixture(scope="session")
def story(cluster: clusters.Cluster, study: Callable[[], Path], plain_environment: dict[str, str]) -> runs.Run:
    """The study after it ran on the cluster through every fault."""
    return runs.tell(runs.Run(study(), cluster, plain_environment, "tiny"))


@pytest.fixture(scope="session")
def jobs(story: runs.Run) -> dict[str, dict[str, str]]:
    """What Slurm says of every job of that run, by its id."""
    return tables.slurm_jobs(story.cluster)


@pytest.fixture(scope="session")
def outputs(story: runs.Run, outputs_of: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    """The outputs of that run."""
    return outputs_of(story.tree)


@pytest.fixture(scope="session")
def table() -> Callable[..., str]:
    """Columns of text."""
    return tables.table


@pytest.fixture(scope="session")
def costs() -> Callable[[runs.Run], list]:
    """What the Slurm jobs of a run cost beyond their steps: prints the table, gives its rows."""

    def show(run: runs.Run) -> list:
        rows = tables.overheads(tables.slurm_jobs(run.cluster), runs.receipts(run.tree), run.log)
        print(f"\n{tables.table(tables.OVERHEADS, rows)}")
        return rows

    return show
