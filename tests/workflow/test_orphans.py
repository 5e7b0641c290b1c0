"""Jobs that outlived a killed run are cancelled or waited for: never another study's, never while a run lives."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snakemake import cli

from attribution.errors import StudyError
from attribution.workflow import exclusive, orphans

RUN = ["--cores", "1", "tiny"]
STUDIES = ["tiny", "tiny_unet"]


def given(arguments: list[str]) -> Callable[[], Any]:
    """Snakemake's command line, read by Snakemake."""
    return lambda: cli.parse_args(arguments)[1]


def program(folder: Path, name: str, text: str) -> None:
    """A stand-in for a program of Slurm."""
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What squeue prints: two jobs of the study, and others' jobs; no pauses."""
    monkeypatch.setattr(orphans, "SECONDS", 0.05)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "Snakefile").touch()
    path = tmp_path / "queue"
    path.write_text(
        f"7|PENDING|{tmp_path}|rule_train_wildcards_tiny_full\n"
        f"8|RUNNING|{tmp_path}|rule_measure_wildcards_tiny_full\n"
        f"9|PENDING|/elsewhere|rule_train_wildcards_tiny_full\n"
        f"10|PENDING|{tmp_path}|(null)\n"
        f"11|PENDING|{tmp_path}|rule_train_wildcards_tiny_unet_full\n"
        f"12|PENDING|{tmp_path}|rule_lds\n"
    )
    program(tmp_path, "squeue", f'while read -r line; do echo "$line"; done < {path}; echo "$@" > {tmp_path}/asked')
    program(tmp_path, "scancel", f'echo "$@" >> {tmp_path}/cancelled; : > {path}')
    return path


def killed(root: Path, study: str, executor: str = "slurm") -> None:
    """The file of a run that did not sign off."""
    path = root / exclusive.FOLDER / study
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"process 1 on a host since then, executor {executor}")


def test_queued_jobs_are_cancelled_and_running_ones_waited_for(tmp_path: Path, capsys) -> None:
    killed(tmp_path, "tiny")
    orphans.clear(tmp_path, STUDIES, given(RUN))
    assert (tmp_path / "cancelled").read_text() == "7 12\n"  # a group's job could be of any study
    assert "--me" in (tmp_path / "asked").read_text()
    said = capsys.readouterr().err
    assert "Slurm job 8" in said
    assert not any(f"Slurm job {other}" in said for other in (9, 10, 11))


def test_a_study_whose_name_goes_on_is_another(tmp_path: Path) -> None:
    killed(tmp_path, "tiny_unet")
    orphans.clear(tmp_path, STUDIES, given(RUN))
    assert (tmp_path / "cancelled").read_text() == "11 12\n"


@pytest.mark.parametrize("arguments", [["-n"], ["--unlock"], ["--report", "x.html"], ["--summary"], ["--no-such-flag"]])
def test_nothing_is_cleared_by_what_is_no_run(tmp_path: Path, arguments: list[str]) -> None:
    killed(tmp_path, "tiny")
    orphans.clear(tmp_path, STUDIES, given([*RUN, *arguments]))
    assert not (tmp_path / "asked").exists()


def test_where_every_run_signed_off_slurm_is_not_asked(tmp_path: Path) -> None:
    exclusive.hold(tmp_path, ["tiny"], "slurm")
    exclusive.release()
    orphans.clear(tmp_path, STUDIES, given(RUN))
    assert not (tmp_path / "asked").exists()


def test_a_queue_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path, "tiny")
    program(tmp_path, "squeue", "echo no controller >&2; exit 1")
    with pytest.raises(StudyError, match=rf"still run \(squeue: no controller\); .* delete {exclusive.FOLDER}/tiny$"):
        orphans.clear(tmp_path, STUDIES, given(RUN))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudyError, match=r"still run \(squeue: .*No such file"):
        orphans.clear(tmp_path, STUDIES, given(RUN))


def test_the_jobs_of_a_run_on_this_host_are_none_of_slurm(tmp_path: Path) -> None:
    killed(tmp_path, "tiny", "local")
    program(tmp_path, "squeue", "echo no controller >&2; exit 1")
    orphans.clear(tmp_path, STUDIES, given(RUN))


def test_the_executor_of_a_killed_run_is_known(tmp_path: Path) -> None:
    script = "import os; from attribution.workflow.exclusive import hold; hold('.', ['tiny'], 'slurm'); os._exit(1)"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert exclusive.killed(tmp_path, "tiny", "slurm")
    assert not exclusive.killed(tmp_path, "tiny", "local")
