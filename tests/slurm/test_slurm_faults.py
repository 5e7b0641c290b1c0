"""The study on a real Slurm, where jobs, a node, the controller and Snakemake itself die: nothing is lost or redone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # minutes: Slurm starts some forty jobs

CANCELLED, MEMORY, TIME = "job cancelled", "out of memory", "over its time"
NODE, CONTROLLER, KILLED = "node killed", "controller restarted", "snakemake killed"


def met(story, jobs, fault: str) -> list[dict[str, str]]:
    """The Slurm jobs, in order, that ran the step which a fault met."""
    return [jobs[number] for number in dict.fromkeys(event.job for event in story.starts(fault))]


def said(job: dict[str, str]) -> str:
    """A Slurm job and how it ended, in short."""
    again = f", started again {job['Restarts']} time" if job["Restarts"] != "0" else ""
    return f"{job['JobId']} {job['JobState']}{again}"


def same(made: dict[str, str], local: dict[str, str], folder: str) -> bool:
    """Whether all outputs of a job are those of the local run, byte for byte."""
    paths = {path for path in made.keys() | local.keys() if path.startswith(folder)}
    return bool(paths) and all(made.get(path) == local.get(path) for path in paths)


def test_each_fault_is_survived(story, jobs, local, outputs, table) -> None:
    rows = []
    for fault in sorted(story.struck, key=story.struck.get):
        folder = story.met_by(fault)
        ended = any(event.kind == "end" and event.folder.startswith(folder) for event in story.events())
        rows.append(
            (
                fault,
                "; ".join(map(said, met(story, jobs, fault))),
                "yes" if story.status == 0 and ended else "no",
                len(story.repeated(story.struck[fault])),
                "yes" if same(outputs, local, folder) else "no",
            )
        )
    print(
        "\n" + table(("fault", "Slurm jobs of what it met", "completed", "finished jobs repeated", "identical"), rows)
    )
    assert story.status == 0, story.log[-6000:]
    assert {row[0] for row in rows} == {CANCELLED, MEMORY, TIME, NODE, CONTROLLER, KILLED}
    assert {row[2:] for row in rows} == {("yes", 0, "yes")}


def test_the_faults_came_about(story, jobs) -> None:
    """Each in the way its name says: a test that Slurm did not notice would prove nothing."""
    first = {fault: met(story, jobs, fault)[0] for fault in (CANCELLED, MEMORY, TIME, NODE)}
    assert first[CANCELLED]["JobState"] == "CANCELLED"
    assert first[TIME]["JobState"] == "TIMEOUT"
    assert "exceeded memory limit" in Path(first[MEMORY]["StdOut"]).read_text()
    assert first[NODE]["Restarts"] != "0" or len(met(story, jobs, NODE)) > 1
    assert "the last run did not end by itself" in story.log


def test_a_failed_job_asks_for_twice_as_much(jobs, story) -> None:
    failed, again = met(story, jobs, MEMORY)[:2]
    assert (failed["MinMemoryNode"], again["MinMemoryNode"]) == ("1500M", "3000M")
    assert (failed["TimeLimit"], again["TimeLimit"]) == ("00:30:00", "01:00:00")
    assert again["JobState"] == "COMPLETED"


def test_gpus_are_asked_for_and_granted(jobs) -> None:
    asked = [job for job in jobs.values() if "rule_train" in job["Comment"]]
    assert len(asked) >= 8
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in asked)
    assert not [job["Comment"] for job in jobs.values() if "evaluate" in job["Comment"] and "TresPerJob" in job]


def test_a_job_that_outlived_snakemake_was_waited_for_and_recorded(story, jobs) -> None:
    (survivor,) = met(story, jobs, KILLED)
    assert survivor["JobState"] == "COMPLETED"
    assert f"Slurm job {survivor['JobId']}" in story.log
    assert story.log.count(f"jobid {survivor['JobId']} ") == 1  # it was not submitted again
    assert story.unrecorded() == set()


def test_outputs_are_those_of_the_local_run(outputs, local) -> None:
    assert len(local) > 80
    assert {path for path in local.keys() | outputs.keys() if local.get(path) != outputs.get(path)} == set()


def test_nothing_is_left_to_do_and_every_link_holds(story, snakemake) -> None:
    done = snakemake(story.tree, "--profile", "slurm", "tiny")
    assert "Nothing to be done" in done.text
    command = [sys.executable, "-m", "attribution", "audit", "tiny"]
    environment = os.environ | {"PYTHONPATH": str(story.tree / "src")}
    audit = subprocess.run(command, cwd=story.tree, env=environment, capture_output=True, text=True)
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_what_a_job_costs_is_told(story, costs) -> None:
    (whole,) = [row for row in costs(story) if row[0] == "all single steps"]
    assert whole[1] >= 10
    assert 0 < whole[6] < whole[4]
