"""Keeps the Slurm executor on squeue while the controller does not answer.

Before each poll the executor plugin (2.8.0) asks the controller how long finished jobs stay listed. Where that fails it
takes sacct for the poll and all its repetitions, and where Slurm keeps no accounts sacct never answers: the run would
wait for ever, long after the controller is back. Standard library only: the plugin is there, or it is not used.
"""

import sys
from collections.abc import Callable

PLUGIN = "snakemake_executor_plugin_slurm"


def steady() -> None:
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
