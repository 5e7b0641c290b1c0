"""What all tests share; and copies of the working tree with a tiny study, to run there.

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
from typing import Any

import pytest
import yaml
from hypothesis import settings

ROOT = Path(__file__).parents[1]
WARM = Path(__file__).parent / "workflow/tiny/warm.py"
TIMED = re.compile(r"seconds|^(exact|first)$|^(id|receipt|sha256)$")  # keys of times, and of hashes that they are in
OPTIONAL = ("unlearning", "counterfactual", "ablation", "contributors")  # sections that a study may leave out
SHARED = ("finished", "trained")  # fixtures that take long to make, of tests of several files

settings.register_profile("study", deadline=None)  # a busy machine is no defect
settings.load_profile("study")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two processes (`make test`) one runs all tests of a file, and all that share what takes long to make. What is
    slow begins first, so that neither process waits long for the other at the end.
    """
    groups = {}
    for item in items:
        shared = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
        groups[item] = shared[0] if shared else item.location[0]
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (groups[item] not in slow, groups[item] not in SHARED))


@pytest.fixture(scope="session")
def unet() -> dict[str, Any]:
    """The settings of a UNet of a few thousand parameters: convolutions, attention, norms, time embedding."""
    return {
        "kind": "unet",
        "block_out_channels": [4, 8],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 2,
        "attention_head_dim": 4,
        "downsample_padding": 1,
        "dropout": 0.0,
        "resnet_time_scale_shift": "default",
    }


@pytest.fixture(scope="session")
def plain_environment() -> dict[str, str]:
    """Of Snakemake's processes: no run around them, one thread, no mirror."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ATTRIBUTION_GUARD", "ATTRIBUTION_RUN", "PYTHONPATH")
    }
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
def untimed() -> Callable[[Any], Any]:
    """Takes from a JSON value what no two runs have in common: what a clock said, and the ids of receipts of that."""

    def take(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: take(inner) for key, inner in value.items() if not TIMED.search(key)}
        return [*map(take, value)] if isinstance(value, list) else value

    return take


@pytest.fixture(scope="session")
def cut_down(warm: list[str]) -> Callable[[Path, Path], Path]:
    """Gives a tree one study, `tiny`: the smoke study with what a file changes in it, and its dataset.

    Of the optional sections it has those that the file names.
    """

    def write(tree: Path, changes: Path) -> Path:
        smoke, other = (yaml.safe_load(path.read_text()) for path in (tree / "config/smoke.yaml", changes))
        smoke = {key: value for key, value in smoke.items() if key in other or key not in OPTIONAL}
        methods = {"methods": {name: smoke["methods"][name] for name in other.pop("methods")}}
        merged = {key: value | other.get(key, {}) if isinstance(value, dict) else value for key, value in smoke.items()}
        for config in (tree / "config").glob("*.yaml"):
            if config.stem != "claims":
                config.unlink()
        (tree / "config/tiny.yaml").write_text(yaml.safe_dump(merged | methods | {"title": other["title"]}))
        (tree / "config/config.yaml").write_text("published: [tiny]\ngroups: {}\n")
        command = [*warm, "-m", "attribution.steps.build_dataset", "digits", "--out", "data/digits.safetensors"]
        subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree / "src")}, check=True)
        return tree

    return write
