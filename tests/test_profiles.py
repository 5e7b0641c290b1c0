"""The profiles hold real options, each with its reason; the default one cannot turn a Slurm run into a local one."""

import re
from pathlib import Path

import pytest
import yaml
from snakemake import cli

ROOT = Path(__file__).parents[1]
SLURM = ROOT / "slurm" / "profile.v9+.yaml"
DEFAULT = ROOT / "profiles" / "default" / "profile.yaml"

# What profiles/default would override in `--profile slurm`, or what hides that results are stale.
FORBIDDEN = {
    *("executor", "jobs", "cores", "local-cores", "default-resources", "set-resources", "resources", "retries"),
    *("cache", "touch", "rerun-triggers", "ignore-incomplete", "latency-wait", "keep-going"),
}


def keys(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [SLURM, DEFAULT], ids=["slurm", "default"])
def test_every_key_is_an_option_of_the_installed_snakemake(path):
    known = {option for action in cli.get_argument_parser()._actions for option in action.option_strings}
    assert "--slurm-status-command" in known  # the executor's own options are among them
    assert [key for key in keys(path) if f"--{key}" not in known] == []


@pytest.mark.parametrize("path", [SLURM, DEFAULT], ids=["slurm", "default"])
def test_every_group_of_keys_gives_its_reason(path):
    groups = path.read_text(encoding="utf-8").strip().split("\n\n")
    seen = []
    for group in groups:
        found = re.findall(r"^([a-z][a-z-]*):", group, re.MULTILINE)
        assert not found or group.startswith("#") or found == ["executor"], group
        seen += found
    assert seen == list(keys(path))


def test_the_slurm_profile_is_found_by_its_name_from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.get_profile_dir("slurm")[1].resolve() == SLURM
    assert cli.get_profile_dir("profiles/default")[1].resolve() == DEFAULT


def test_both_profiles_together_give_what_the_slurm_profile_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, args = cli.parse_args(["--profile", "slurm", "--dry-run"])
    wanted = keys(SLURM)
    assert args.executor == "slurm"
    assert args.jobs == wanted["jobs"]
    assert args.cores == wanted["cores"]
    assert args.retries == wanted["retries"] >= 1
    assert args.slurm_status_command == "squeue"
    assert args.max_checksum_file_size == 10 * 1000**3
    assert args.rerun_incomplete
    assert args.keep_going


def test_partition_and_account_are_those_of_the_environment(monkeypatch):
    """As sbatch reads them; unset, the executor takes the cluster's defaults."""
    monkeypatch.chdir(ROOT)
    _, args = cli.parse_args(["--profile", "slurm", "--dry-run"])
    for resource, variable in (("slurm_partition", "SBATCH_PARTITION"), ("slurm_account", "SBATCH_ACCOUNT")):
        expression = args.default_resources[resource]
        job = {"wildcards": {}, "input": [], "attempt": 1, "threads": 1, "rulename": "train", "async_run": None}
        monkeypatch.delenv(variable, raising=False)
        assert expression.evaluate(**job).value == ""
        monkeypatch.setenv(variable, "long-queue")
        assert expression.evaluate(**job).value == "long-queue"


def test_a_flag_beats_the_profile(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, args = cli.parse_args(["--profile", "slurm", "--executor", "local", "--jobs", "2"])
    assert (args.executor, args.jobs) == ("local", 2)


def test_the_default_profile_holds_only_what_holds_everywhere():
    found = keys(DEFAULT)
    assert found.keys() & FORBIDDEN == set()
    assert [key for key in found if key.startswith("slurm")] == []
    assert {"max-checksum-file-size", "rerun-incomplete"} <= found.keys()
    # It overrides --profile key by key: what both hold must be equal.
    assert {key: value for key, value in keys(SLURM).items() if key in found} == found


def test_neither_profile_silences_what_is_stale():
    silencing = {"cache", "touch", "rerun-triggers", "ignore-incomplete"}
    assert (keys(SLURM).keys() | keys(DEFAULT).keys()) & silencing == set()


def test_without_the_lock_of_snakemake_every_run_holds_its_studies():
    assert keys(DEFAULT)["nolock"]
    handlers = (ROOT / "workflow/rules/handlers.smk").read_text(encoding="utf-8")
    assert "exclusive.hold(" in handlers.partition("\nonstart:\n")[2]
