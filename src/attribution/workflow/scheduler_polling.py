"""Keeps Snakemake's scheduler from looking for jobs ever more often, and its Slurm executor on squeue while the
controller does not answer.

Where jobs a second are limited, as they are by default (9.27.1), every look for jobs to start plans another one a
second later, and every job that ends adds one: after 200 jobs of the digits study the looks took a third of a core
(tests/workflow/test_scheduler_polling.py counts them). --max-jobs-per-timespan knows no "none", and with a longer
timespan Snakemake waits at its end until the last of the looks that it planned is due.

Before each poll the executor plugin (2.8.0) asks the controller how long finished jobs stay listed. Where that fails it
takes sacct for the poll and all its repetitions, and where Slurm keeps no accounts sacct never answers: the run would
wait for ever, long after the controller is back (tests/slurm/test_slurm_faults.py restarts it); no option keeps the
plugin to squeue. Standard library only: the plugin is there, or it is not used.
"""

import sys
from collections.abc import Callable
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"
DEFAULT = (100, 1)  # jobs, seconds


def drop_default_rate_limit(scheduler: Any) -> None:
    """Drop the limit of jobs a second from Snakemake's scheduler, unless another one was asked for."""
    limit = scheduler.job_rate_limiter
    if limit and (limit.max_jobs, limit.timespan) == DEFAULT:
        scheduler.job_rate_limiter = None


def remember_job_age() -> None:
    """Let the plugin remember how long finished jobs stay listed, once the controller has said it."""
    plugin = sys.modules.get(PLUGIN)
    if plugin and not isinstance(plugin.get_min_job_age, Remembered):
        plugin.get_min_job_age = Remembered(plugin.get_min_job_age)


class Remembered:
    """A question whose last answer stands where there is none (None)."""

    def __init__(self, ask: Callable[[], int | None]) -> None:
        self.ask = ask
        self.known: int | None = None

    def __call__(self) -> int | None:
        """The answer of now, else the last one."""
        answer = self.ask()
        self.known = self.known if answer is None else answer
        return self.known
