"""One run of a study, one process in a job's folder; what was killed holds nothing. The other processes are real."""

import errno
import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow import exclusive

SOURCE = Path(__file__).parents[2] / "src"
SCRIPT = """\
import contextlib, sys
from pathlib import Path
from attribution.workflow import exclusive
with contextlib.ExitStack() as stack:
    {}
    print("done", flush=True)
    input()
"""
HOLD = "exclusive.hold(Path(), ['toy', 'other'])"
ALONE = "stack.enter_context(exclusive.alone(Path('job')))"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Starts a process that does what it is told, says `done`, and waits for a line or its end."""
    begun = []

    def run(what: str) -> subprocess.Popen:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-c", SCRIPT.format(what)]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        begun.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    exclusive.release()


def test_a_second_run_of_a_study_is_refused_until_the_first_ends(start, tmp_path: Path) -> None:
    first = start(HOLD)
    assert first.stdout.readline() == "done\n"
    assert not exclusive.idle(tmp_path, "toy")
    owner = rf"process {first.pid} on \S+ since \S+, executor local"
    with pytest.raises(StudyError, match=rf"^toy: another run is making it \({owner}\)"):
        exclusive.hold(tmp_path, ["toy"])
    exclusive.hold(tmp_path, ["third"])  # another study, at the same time
    first.communicate("\n")
    assert exclusive.idle(tmp_path, "toy")
    exclusive.hold(tmp_path, ["toy", "other", "third"])
    assert not exclusive.idle(tmp_path, "toy")  # and to ask does not give it up:
    second = start(HOLD)
    assert "StudyError: other: another run is making it" in second.communicate()[1]
    exclusive.release()
    assert exclusive.idle(tmp_path, "toy")


def test_a_study_that_another_run_made_when_this_one_began_is_refused(start, tmp_path: Path) -> None:
    """What is planned was not held against the receipts then. Old: it was taken once the other had ended."""
    first = start(HOLD)
    assert first.stdout.readline() == "done\n"
    assert not exclusive.idle(tmp_path, "toy")
    first.communicate("\n")
    with pytest.raises(StudyError, match=rf"^toy: another run is making it \(process {first.pid} on"):
        exclusive.hold(tmp_path, ["toy"])
    exclusive.hold(tmp_path, ["other"])  # which was not asked for
    assert exclusive.idle(tmp_path, "toy")
    exclusive.hold(tmp_path, ["toy"])


def test_a_killed_run_leaves_nothing_to_unlock(start, tmp_path: Path) -> None:
    first = start(HOLD)
    assert first.stdout.readline() == "done\n"
    first.kill()
    first.wait()
    assert exclusive.idle(tmp_path, "toy")
    exclusive.hold(tmp_path, ["toy"])


def test_a_study_that_never_ran_is_idle_and_asking_writes_nothing(tmp_path: Path) -> None:
    assert exclusive.idle(tmp_path, "toy")
    assert list(tmp_path.iterdir()) == []


def test_without_locks_a_run_that_did_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lacking)
    exclusive.hold(tmp_path, ["toy"])  # what did end has left no name
    exclusive.release()
    exclusive.hold(tmp_path, ["toy"])
    monkeypatch.setattr(exclusive, "_held", {})  # as another process would see it
    assert not exclusive.idle(tmp_path, "toy")
    path = tmp_path / exclusive.FOLDER / "toy"
    with pytest.raises(StudyError, match=rf"^toy: a run of it has not ended \(process {os.getpid()} .* delete {path}$"):
        exclusive.hold(tmp_path, ["toy"])
    path.unlink()
    exclusive.hold(tmp_path, ["toy"])
    with exclusive.alone(tmp_path / "job"):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".snakemake").write_text("")
    with pytest.raises(StudyError, match=r"runs/toy: cannot be written \(Not a directory\)"):
        exclusive.hold(tmp_path, ["toy"])


def test_a_job_waits_for_one_that_still_works_in_its_folder(start, tmp_path: Path) -> None:
    """As after a run was killed whose jobs go on."""
    first = start(ALONE)
    assert first.stdout.readline() == "done\n"
    others = [start(ALONE), start(ALONE)]
    for process in others:
        assert process.stderr.readline() == "job: another process works here; waiting for its end\n"
    assert select.select([process.stdout for process in others], [], [], 0.2)[0] == []
    first.communicate("\n")
    for killed in (True, False):
        ready, _, _ = select.select([process.stdout for process in others], [], [], 60)
        (working,) = (process for process in others if process.stdout in ready)
        assert working.stdout.readline() == "done\n"
        others.remove(working)
        if killed:
            working.kill()
        else:
            working.communicate("\n")
    assert list((tmp_path / "job").iterdir()) == []
