"""The environment files agree: plain pins, one version of each package, and nothing imported that no lock provides."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.]*")  # no local version, address, hash or marker
CUDA = re.compile(r"(nvidia|cuda)-[a-z0-9-]+|triton")


def lines(name):
    text = (ENVS / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name):
    """{canonical distribution name: version} of a lock."""
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines(name)}


@pytest.mark.parametrize("name", ["cpu.lock.txt", "cuda.lock.txt", "peers.lock.txt", "crate.lock.txt"])
def test_locks_are_plain_sorted_pins(name):
    found = lines(name)
    assert [line for line in found if not PIN.fullmatch(line)] == []
    assert found == sorted(found, key=str.lower)
    assert len(pins(name)) == len(found)


def test_the_cuda_lock_is_the_cpu_lock_and_what_torchs_cuda_build_brings():
    cpu, cuda = pins("cpu.lock.txt"), pins("cuda.lock.txt")
    assert {name: cuda.get(name) for name in cpu} == cpu
    extra = cuda.keys() - cpu.keys()
    assert {"triton", "nvidia-cublas", "nvidia-cudnn-cu13"} <= extra
    assert [name for name in extra if not CUDA.fullmatch(name)] == []
    assert [name for name in cpu if CUDA.fullmatch(name)] == []


def test_no_torchvision_anywhere():
    """It is bound to one release of torch, replaces it when installed, and nothing here imports it."""
    for name in ("cpu.lock.txt", "cuda.lock.txt", "peers.lock.txt"):
        assert "torchvision" not in pins(name)
    assert "torchvision" not in (ENVS / "requirements.in").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cpu.lock.txt", "cuda.lock.txt"])
def test_requirements_hold_in_the_locks(name):
    locked = pins(name)
    wanted = [Requirement(line) for line in lines("requirements.in")]
    assert len(wanted) > 10
    for requirement in wanted:
        assert Version(locked[canonicalize_name(requirement.name)]) in requirement.specifier, requirement


def test_conda_and_apptainer_take_their_versions_from_the_locks():
    python = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert python == ">=3.11,<3.12"
    conda = yaml.safe_load((ENVS / "environment.yaml").read_text(encoding="utf-8"))["dependencies"]
    assert conda == ["python=3.11", "pip", {"pip": ["-r cpu.lock.txt"]}]
    recipe = (ENVS / "apptainer.def").read_text(encoding="utf-8")
    assert re.search(r"^From: python:3\.11\b", recipe, re.MULTILINE)
    assert re.search(r"^ *pip install .*--requirement \S*/cuda\.lock\.txt$", recipe, re.MULTILINE)
    assert "envs/cuda.lock.txt /opt/attribution/envs/cuda.lock.txt" in recipe
    assert "==" not in recipe


def test_peers_bring_nothing_that_the_environment_has():
    assert pins("peers.lock.txt").keys() & pins("cpu.lock.txt").keys() == set()


def test_the_running_environment_is_the_locks():
    """And the lock is whole: what each of its packages requires is in it, at a version that suits."""
    marker = Path(sys.prefix, "attribution-lock")
    locked = pins(f"{marker.read_text().strip() if marker.exists() else 'cpu'}.lock.txt")
    wrong = []
    for name, version in locked.items():
        found = importlib.metadata.distribution(name)
        if found.version.split("+")[0] != version:
            wrong.append(f"{name}: {version} in the lock, {found.version} installed")
        for requirement in map(Requirement, found.requires or []):
            needed = canonicalize_name(requirement.name)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            if CUDA.fullmatch(needed) and "triton" not in locked:
                continue  # torch's default build with the CPU lock: it runs, and brings its CUDA libraries itself
            if needed not in locked or Version(locked[needed]) not in requirement.specifier:
                wrong.append(f"{name} requires {requirement}, the lock has {locked.get(needed)}")
    assert wrong == []


def imported(path):
    """Top-level names of everything that a module imports, in or outside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("lock", ["cpu.lock.txt", "cuda.lock.txt"])
def test_every_import_in_src_is_provided_by_the_lock(lock):
    providers = importlib.metadata.packages_distributions()
    names = {name for path in (ROOT / "src").rglob("*.py") for name in imported(path)}
    names -= set(sys.stdlib_module_names) | {"attribution"}
    assert {"torch", "numpy", "safetensors", "sklearn"} <= names
    locked = pins(lock).keys()
    missing = [
        name for name in sorted(names) if not {canonicalize_name(found) for found in providers.get(name, ())} & locked
    ]
    assert missing == []
