"""`why` names what a dry run would run, and the causes of it, of a study that really ran."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute


@pytest.fixture
def asked(tree: Path, plain_environment: dict[str, str]) -> Callable[..., list[dict]]:
    """The jobs that `python -m attribution why --json` names."""

    def ask(*targets: str) -> list[dict]:
        command = [sys.executable, "-m", "attribution", "why", "--json", *targets]
        environment = plain_environment | {"PYTHONPATH": str(tree / "src")}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_a_finished_study_has_nothing_to_explain(asked) -> None:
    assert asked() == []


def test_costs_show_the_memory_that_every_rule_asks_for(tree: Path, plain_environment: dict[str, str]) -> None:
    """Of the study's own, as train does, of a rule's own number, as design does; also where nothing is left to run."""
    command = [sys.executable, "-m", "attribution", "cost", "tiny", "--json"]
    environment = plain_environment | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    asked = {cost["step"]: cost["asked_mb"] for cost in json.loads(done.stdout)}
    assert None not in asked.values()
    study = yaml.safe_load((tree / "config/tiny.yaml").read_text())
    assert (asked["train"], asked["design"]) == (study["resources"]["mem_mb"], 1000)


def test_causes_and_jobs_are_those_of_the_plan(tree, edit, configure, planned, asked) -> None:
    configure(lambda study: study["curvature"]["kinds"]["model"].update(draws=3))
    edit("src/attribution/methods/trak.py", "", "\nSPARE = 1\n")
    (tree / "results/tiny/summary/figures/samples.png").unlink()
    jobs = {job["folder"]: job for job in asked("tiny")}
    assert len(jobs) == len(planned(tree, "tiny"))
    assert all(job["exact"] and job["seconds"] >= 0 for job in jobs.values())
    found = {folder.removeprefix("results/tiny/"): job["causes"] for folder, job in jobs.items() if job["causes"]}
    draws = "curvature.kinds.model.draws: 2 -> 3"
    trak = "code changed: attribution.methods.trak"
    assert found.pop("summary/figures") == ["missing: results/tiny/summary/figures/samples.png"]
    assert {draws} == {cause for folder, said in found.items() if "/full/model/" in folder for cause in said}
    assert found["scores/full/trak"] == found["scores/seed1/trak"] == [trak]
    assert found["lds/trak"] == [trak]
    assert jobs["results/tiny/summary/tables"]["above"] == ["results/tiny/summary/numbers"]


def test_a_target_that_does_not_exist_is_one_line(tree: Path, plain_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "attribution", "why", "tinny"]
    environment = {**os.environ, **plain_environment, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "tinny" in done.stderr
