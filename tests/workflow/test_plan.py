"""A dry run read back: which jobs, with which identity and inputs. No Snakemake here."""

import subprocess
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow import plan

TRAIN = (
    "Shell command: python -m attribution.steps.train --out results/t/models/full"
    " --data results/t/data/images/train.safetensors --subsets results/t/design/full/subsets.safetensors"
    """ --spec '{"job":{"cohort":"full"},"title":"it'"'"'s > 1","training":{"steps":2}}' --code c0de --lock 10cc"""
)
LDS = (
    "Shell command: python -m attribution.steps.lds --out results/t/lds/a --scores results/t/scores/a"
    " --losses results/t/losses/x results/t/losses/y --spec '{}' --code c1 --lock 10cc"
)
DRY = f"""Building DAG of jobs...
rule train:
    input: results/t/data/images/train.safetensors, results/t/design/full/subsets.safetensors
    output: results/t/models/full/models.safetensors, results/t/models/full/receipt.json
    reason: Params have changed since last execution
    resources: tmpdir=/tmp, runtime=30, gpu=0, mem_mb=4000, mem=4 GB, mem_mib=3815
    wildcards: study=t, cohort=full
{TRAIN} > results/t/logs/train/full.log 2>&1

localrule lds:
    output: results/t/lds/a/lds.json
    reason: Input files updated by another job: results/t/models/full/models.safetensors
{LDS} > results/t/logs/lds/a.log 2>&1

localrule t:
    input: results/t/lds/a/lds.json
    reason: Rules with neither input nor output files are always executed
Job stats:
"""


def test_jobs_are_read_with_their_identity() -> None:
    train, lds = plan.parse(DRY)
    assert (train.step, train.folder, train.code, train.lock) == ("train", "results/t/models/full", "c0de", "10cc")
    assert train.spec == {"job": {"cohort": "full"}, "title": "it's > 1", "training": {"steps": 2}}
    assert (train.memory, lds.memory) == (4000, 0)  # not the one of the job before
    assert train.reason == "Params have changed since last execution"
    assert lds.inputs == {"scores": ("results/t/scores/a",), "losses": ("results/t/losses/x", "results/t/losses/y")}
    assert lds.reason.startswith("Input files updated by another job")


def test_a_plan_of_nothing_is_empty() -> None:
    assert plan.parse("Building DAG of jobs...\nNothing to be done (all requested files are present).\n") == []


def test_a_plan_that_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = "Building DAG of jobs...\nMissingRuleException: no rule to produce x\n\n"
    done = subprocess.CompletedProcess([], 1, said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(StudyError, match=r"^the plan cannot be made: MissingRuleException: no rule to produce x$"):
        plan.dry_run(tmp_path, ["x"])


def test_memory_is_that_of_all_jobs_and_of_none_where_there_is_no_plan(monkeypatch, tmp_path: Path) -> None:
    assert plan.memory(tmp_path, "t") == {}  # no Snakefile there
    commands = []

    def run(command: list[str], **_) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, DRY)

    monkeypatch.setattr(subprocess, "run", run)
    assert plan.memory(tmp_path, "t") == {"train": 4000}
    assert "--forceall" in commands[0]  # else a finished study asks for nothing


def test_a_dry_run_is_not_part_of_a_run_around_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else the guard would hold the tree to what it was when that run began."""
    seen = {}

    def run(command: list[str], cwd: Path, env: dict[str, str], **_) -> subprocess.CompletedProcess:
        seen.update(command=command, env=env)
        return subprocess.CompletedProcess(command, 0, DRY)

    monkeypatch.setenv("ATTRIBUTION_GUARD", "some")
    monkeypatch.setattr(subprocess, "run", run)
    assert len(plan.dry_run(tmp_path, ["t"])) == 2
    assert "ATTRIBUTION_GUARD" not in seen["env"]
    assert "--dry-run" in seen["command"]
    assert seen["command"][-1] == "t"
