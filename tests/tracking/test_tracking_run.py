"""A run of Snakemake whose jobs log at once to a real server, which is killed half-way: the run does not notice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.tracking.mirror import Summary, sync

SOURCE = Path(__file__).parents[2] / "src"
JOBS = range(4)
STEPS = range(1, 601)  # two a second, until the server has ended
SNAKEFILE = """\
import sys
sys.path.insert(0, {source!r})
from attribution.tracking import handlers

rule all:
    input: expand("results/toy/train/{{job}}/receipt.json", job={jobs})

rule train:
    output: "results/toy/train/{{job}}/receipt.json"
    shell: "{python} train.py {{wildcards.job}}"

onstart: handlers.start(["toy"])
onsuccess: handlers.finish(["toy"])
"""
TRAIN = """\
import shutil, sys, time
from pathlib import Path
done, out = (Path(place, "results/toy/train", sys.argv[1]) for place in ("done", "."))
shutil.copy(done / "model.bin", out)
for line in (done / "log.jsonl").open():
    with (out / "log.jsonl").open("a") as log:
        log.write(line)
    if not Path("go").exists():
        time.sleep(0.5)
shutil.copy(done / "receipt.json", out)
"""


@pytest.mark.slow
def test_a_run_goes_on_without_its_server_and_is_synced_afterwards(
    server, tmp_path: Path, write_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # it answers while four jobs log to it
    root, log = tmp_path / "root", [{"step": step, "loss": 1.0 / step} for step in STEPS]
    for job in JOBS:
        write_job(root / "done", f"train/{job}", f"r{job}", log=log, spec={"job": {"method": f"method{job}"}})
    (root / "Snakefile").write_text(SNAKEFILE.format(source=str(SOURCE), jobs=list(JOBS), python=sys.executable))
    (root / "train.py").write_text(TRAIN)
    client = mlflow.MlflowClient(server.uri)

    def runs(query: str = "") -> list:
        experiment = client.get_experiment_by_name("toy")
        return client.search_runs([experiment.experiment_id], query) if experiment else []

    server.start()
    command = [sys.executable, "-m", "snakemake", "--cores", str(len(JOBS))]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        server.eventually(lambda: len(runs()) == len(JOBS))
        assert {run.info.status for run in runs()} == {"RUNNING"}
        server.stop()
        (root / "go").touch()
        said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "left for the next sync" in said
    assert "Traceback" not in said

    server.start()
    assert sync(root, "toy", server.uri) == Summary(0, len(JOBS), 0, ())
    assert len(runs()) == len(runs("tags.`attribution.step` = 'train'")) == len(JOBS)
    for job in JOBS:
        (run,) = runs(f"tags.`attribution.receipt` = 'r{job}'")
        assert run.info.status == "FINISHED"
        assert [run.info.run_id] == [other.info.run_id for other in runs(f"params.`job.method` = 'method{job}'")]
        history = client.get_metric_history(run.info.run_id, "loss")
        assert sorted((point.step, point.value) for point in history) == [(step, 1.0 / step) for step in STEPS]
    assert sync(root, "toy", server.uri) == Summary(0, 0, len(JOBS), ())
