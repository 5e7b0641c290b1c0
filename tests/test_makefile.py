"""`make env` with a stand-in for Python: what it installs, when it does nothing, and that half a one is none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Logs its arguments; `-m venv` puts a copy of itself into the environment; pip fails where FAIL names its argument.
FAKE = """\
#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  *"-m venv"*) [ "$3" = --clear ] && rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"pip"*"$FAIL"*) exit 1 ;;
esac
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    fake, log = tmp_path / "fake-python", tmp_path / "log"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "TORCH", "PYTHON"):  # of a `make test` around this test
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, fail="nothing"):
        log.write_text("")
        environment = os.environ | {"LOG": str(log), "FAIL": fail}
        command = ["make", *arguments, *([] if any("PYTHON=" in item for item in arguments) else [f"PYTHON={fake}"])]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done, log.read_text()

    return run


def stamp(tmp_path):
    path = tmp_path / ".venv" / "attribution-lock"
    return path.read_text().strip() if path.exists() else None


def test_first_run_installs_the_lock_and_the_next_does_nothing(make, tmp_path):
    done, log = make("env")
    assert done.returncode == 0, done.stderr
    assert "install -r envs/cpu.lock.txt" in log
    assert "install --no-deps --no-build-isolation -e ." in log
    assert stamp(tmp_path) == "cpu"
    assert make("env")[1] == ""


@pytest.mark.parametrize("fail", ["-r envs", "-e ."])
def test_an_installation_that_failed_is_not_complete(make, tmp_path, fail):
    done, _ = make("env", fail=fail)
    assert done.returncode != 0
    assert stamp(tmp_path) is None
    _, log = make("env")
    assert "install -r envs/cpu.lock.txt" in log
    assert stamp(tmp_path) == "cpu"


def test_a_newer_lock_and_another_lock_start_from_an_empty_environment(make, tmp_path):
    make("env")
    stale = tmp_path / ".venv" / "stale"
    for arguments in ([], ["TORCH=cuda"]):
        stale.write_text("")
        later = (tmp_path / ".venv" / "attribution-lock").stat().st_mtime + 5
        if not arguments:
            os.utime(tmp_path / "envs" / "cpu.lock.txt", (later, later))
        _, log = make("env", *arguments)
        assert "-m venv --clear .venv" in log
        assert not stale.exists()
        os.utime(tmp_path / "envs" / "cpu.lock.txt", (0, 0))
    assert "install -r envs/cuda.lock.txt" in log
    assert stamp(tmp_path) == "cuda"
    assert make("env", "TORCH=cuda")[1] == ""


def test_peers_are_installed_without_their_dependencies_and_only_whole(make, tmp_path):
    (tmp_path / ".peers.part").mkdir()
    done, log = make(".peers/attribution-lock", fail="peers")
    assert done.returncode != 0
    assert "install --no-deps --target .peers.part -r envs/peers.lock.txt" in log
    assert not (tmp_path / ".peers").exists()


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("PYTHON=no-such-python", "Python 3.11 with venv is needed (no-such-python is not)"),
        ("TORCH=tpu", "TORCH=tpu: there is no envs/tpu.lock.txt; use TORCH=cpu or TORCH=cuda"),
    ],
)
def test_what_is_missing_is_said_in_one_line(make, tmp_path, argument, line):
    done, _ = make("env", argument)
    assert done.returncode != 0
    assert line in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_help_lists_the_targets(make):
    done, _ = make()
    for target in ("study", "smoke", "test", "lint", "locks"):
        assert f"make {target} " in done.stdout
