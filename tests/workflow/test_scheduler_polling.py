"""The scheduler looks for jobs when one ends alone, the Slurm executor keeps to squeue while the controller is away:
against Snakemake and the plugin themselves.
"""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

from attribution.workflow import scheduler_polling


def test_the_plugin_remembers_how_long_jobs_stay_listed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plugin, "get_min_job_age", plugin.get_min_job_age)  # restored at the end
    scheduler_polling.remember_job_age()
    scheduler_polling.remember_job_age()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plugin.get_min_job_age() is None  # no controller has answered yet
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'MinJobAge               = 300 sec'\n")
    scontrol.chmod(0o755)
    assert plugin.get_min_job_age() == 300
    scontrol.write_text("#!/bin/sh\nexit 1\n")
    assert plugin.get_min_job_age() == 300
    assert not isinstance(plugin.get_min_job_age.ask, scheduler_polling.Remembered)


def test_the_poll_asks_what_is_remembered() -> None:
    """Where the plugin looks it up: another version that asks elsewhere needs another way."""
    assert "get_min_job_age" in plugin.Executor.check_active_jobs.__code__.co_names


@pytest.mark.parametrize(("limit", "stays"), [("100/1s", False), ("50/1s", True), ("100/1m", True)])
def test_only_the_limit_that_nobody_asked_for_goes(limit: str, stays: bool) -> None:
    scheduler = SimpleNamespace(job_rate_limiter=JobRateLimiter(MaxJobsPerTimespan.parse_choice(limit)))
    scheduler_polling.drop_default_rate_limit(scheduler)
    scheduler_polling.drop_default_rate_limit(scheduler)
    assert (scheduler.job_rate_limiter is not None) == stays


LOOKS = """
import sys
sys.path.insert(0, {source!r})
from attribution.workflow import scheduler_polling
from snakemake.scheduling.job_scheduler import JobScheduler

select = JobScheduler.job_selector


def counted(self, jobs):
    print("a look", file=sys.stderr)
    return select(self, jobs)


JobScheduler.job_selector = counted


rule all:
    input: expand("{{name}}.txt", name=range(12))


rule job:
    output: "{{name}}.txt"
    shell: "sleep 0.4; touch {{output}}"


if {unhurried}:
    onstart:
        scheduler_polling.drop_default_rate_limit(workflow.scheduler)
"""


def test_a_run_looks_for_jobs_as_often_as_jobs_end(tmp_path) -> None:
    """Twelve jobs, two at a time: by Snakemake's default each look plans another."""
    looks = {}
    for unhurried in (True, False):
        folder = tmp_path / str(unhurried)
        folder.mkdir()
        source = str(Path(scheduler_polling.__file__).parents[2])
        (folder / "Snakefile").write_text(LOOKS.format(source=source, unhurried=unhurried))
        command = [sys.executable, "-m", "snakemake", "--cores", "2"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        looks[unhurried] = done.stderr.count("a look\n")
    assert looks[True] <= 12
    assert looks[False] > looks[True]  # else Snakemake has mended it, and `unhurried` can go


def test_a_limit_of_a_longer_timespan_keeps_snakemake_waiting(tmp_path) -> None:
    """Why no profile's max-jobs-per-timespan takes the place of `unhurried`: its timers outlive the last job."""
    (tmp_path / "Snakefile").write_text('rule job:\n    output: "made.txt"\n    shell: "touch {output}"\n')
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--max-jobs-per-timespan", "100000/6s"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert time.time() - (tmp_path / "made.txt").stat().st_mtime > 4.0  # else it can
