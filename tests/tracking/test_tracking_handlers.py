"""Handlers: a run of Snakemake is mirrored at its end, however it ends, and cannot be hurt by that."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.tracking import handlers

ROOT = Path(__file__).parents[2]
SNAKEFILE = """\
import sys
from pathlib import Path
sys.path.insert(0, {source!r})
from attribution.tracking import handlers

rule all:
    input: expand("results/toy/train/{{job}}/receipt.json", job=[1, 2])

rule train:
    output: "results/{{study}}/train/{{job}}/receipt.json"
    shell: "cp done/{{wildcards.job}} {{output}}"

{handlers}
"""


@pytest.mark.slow
def test_a_run_is_mirrored_when_a_job_fails_and_when_it_ends(tmp_path: Path, write_job) -> None:
    import mlflow

    text = (ROOT / "workflow/rules/handlers.smk").read_text()
    ends = text[text.index("onsuccess:") :]
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(source=str(ROOT / "src"), handlers=ends))
    (tmp_path / "done").mkdir()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    seen = []
    for job in (1, 2):  # the second one fails first, as its receipt is not there to be copied
        folder = write_job(tmp_path / "made", f"train/{job}", f"r{job}")
        (folder / "receipt.json").rename(tmp_path / "done" / str(job))
        said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (said.returncode == 0) == (job == 2), said.stderr
        assert "tracking: warning" not in said.stderr
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/results/toy/tracking/mlflow.db")
        runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
        seen.append({run.info.run_name: run.info.status for run in runs})
    assert seen == [
        {"toy": "FAILED", "train": "FINISHED", "train/1": "FINISHED"},
        {"toy": "RUNNING", "train": "FINISHED", "train/1": "FINISHED", "train/2": "FINISHED"},  # no numbers yet
    ]


def test_handlers_need_nothing_but_the_standard_library() -> None:
    code = "import sys, attribution.tracking.handlers; print({'numpy', 'mlflow', 'safetensors'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Children that take the place of the mirror: they sleep for a minute."""
    children = []

    def sleeper(*arguments: str) -> subprocess.Popen:
        children.append(subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True))
        return children[-1]

    monkeypatch.setattr(handlers, "_spawn", sleeper)
    monkeypatch.setattr(handlers, "SECONDS", 0.2)
    return children


@pytest.mark.usefixtures("toy")
def test_a_password_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:s3cret@127.0.0.1:{port}")
    child = handlers._spawn("sync", "toy", "--failed=toy")
    assert "s3cret" not in Path(f"/proc/{child.pid}/cmdline").read_text()
    assert child.wait() == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "holds no finished job" in err
    assert "s3cret" not in err


@pytest.mark.usefixtures("toy")
def test_handlers_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, spawned) -> None:
    monkeypatch.setenv("ATTRIBUTION_TRACKING", "off")
    handlers.finish(["toy"])
    assert spawned == []


@pytest.mark.usefixtures("toy")
def test_handlers_end_what_takes_too_long(spawned, capsys: pytest.CaptureFixture) -> None:
    handlers.finish(["toy"])
    assert spawned[0].returncode == -signal.SIGKILL
    assert "the sync took longer than 0 s and was ended" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_handlers_say_nothing_of_studies_without_results(spawned, capfd: pytest.CaptureFixture) -> None:
    handlers.finish(["other"])
    assert spawned == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("toy")
def test_handlers_never_raise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def broken(*arguments: str) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(handlers, "_spawn", broken)
    handlers.finish(["toy"], ["toy"])
    assert len(capsys.readouterr().err.splitlines()) == 1
