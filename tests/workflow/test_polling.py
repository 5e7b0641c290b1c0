"""The Slurm executor keeps to squeue while the controller is away: against the plugin itself."""

import snakemake_executor_plugin_slurm as plugin

from attribution.workflow import polling


def test_the_plugin_remembers_how_long_jobs_stay_listed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plugin, "get_min_job_age", plugin.get_min_job_age)  # restored at the end
    polling.steady()
    polling.steady()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plugin.get_min_job_age() is None  # no controller has answered yet
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'MinJobAge               = 300 sec'\n")
    scontrol.chmod(0o755)
    assert plugin.get_min_job_age() == 300
    scontrol.write_text("#!/bin/sh\nexit 1\n")
    assert plugin.get_min_job_age() == 300
    assert not isinstance(plugin.get_min_job_age.ask, polling.Remembered)


def test_the_poll_asks_what_is_remembered() -> None:
    """Where the plugin looks it up: another version that asks elsewhere needs another way."""
    assert "get_min_job_age" in plugin.Executor.check_active_jobs.__code__.co_names
