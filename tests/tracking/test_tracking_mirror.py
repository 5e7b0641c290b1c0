"""The local mirror: every job once, however often and by however many processes it is synced."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.tracking import store as store_module
from attribution.tracking.address import default_uri, parse
from attribution.tracking.mirror import Summary, sync

SOURCE = Path(__file__).parents[2] / "src"
URI = default_uri("toy")
NUMBERS = {"lds.ekfac.generated": {"value": 0.25, "interval": [0.125, 0.5], "receipt": "r1"}}


def _command(root: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-m", "attribution.tracking", *arguments],
        cwd=root,
        env={**environment, "PYTHONPATH": str(SOURCE), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, write_job, training_log) -> tuple[Path, list[tuple]]:
    """A study of two jobs that two processes sync at once onto no database, and what they said."""
    root = tmp_path_factory.mktemp("synced")
    write_job(root, "train/full", "r1", log=training_log)
    write_job(root, "summary/numbers", "r2", numbers=NUMBERS)
    left = root / "results" / "toy" / "tracking" / ".mlflow.db.1.part"  # of one that was killed during migrations
    left.parent.mkdir()
    left.write_text("half a database")
    processes = [_command(root, "sync", "toy", MLFLOW_TRACKING_URI="postgresql://me:s3cret@host/db") for _ in range(2)]
    return root, [(*process.communicate(timeout=60), process.returncode) for process in processes]


@pytest.fixture
def root(synced, tmp_path: Path) -> Path:
    """A copy of that study, database and all; the tests in it run in this process."""
    shutil.copytree(synced[0], tmp_path / "copy")
    return tmp_path / "copy"


def runs(root: Path, query: str = "") -> list:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root}/results/toy/tracking/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert not client.search_runs(["0"])  # none strayed into the default experiment
    return client.search_runs([experiment.experiment_id], query)


def history(root: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root}/results/toy/tracking/mlflow.db")
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, metric))


def test_two_processes_at_once_make_one_database_and_every_run_once(synced) -> None:
    root, said = synced
    assert [status for _, _, status in said] == [0, 0]
    assert sorted(" ".join(out.split()[2:8]) for out, _, _ in said) in (
        ["0 new, 0 updated, 2 unchanged", "2 new, 0 updated, 0 unchanged"],
        # on a machine so slow that the second gave up waiting for the first
        ["0 new, 0 updated, 0 unchanged", "2 new, 0 updated, 0 unchanged"],
    )
    assert len(runs(root)) == 2
    tracking = root / "results" / "toy" / "tracking"
    assert {file.name for file in tracking.iterdir()} == {"mlflow.db", "mirrored.json", ".lock"}
    assert not (root / "mlruns").exists()
    assert not (root / "mlflow.db").exists()


def test_another_kind_of_store_is_ignored_and_its_password_not_told(synced) -> None:
    root, said = synced
    for out, err, _ in said:
        assert err.splitlines()[0] == (
            "tracking: warning: MLFLOW_TRACKING_URI is no http(s) address and is ignored; writing to "
            "sqlite:///results/toy/tracking/mlflow.db"
        )
        assert not [line for line in err.splitlines() if not line.startswith("tracking: warning: ")]
        assert "s3cret" not in out + err
    assert "s3cret" not in (root / "results/toy/tracking/mirrored.json").read_text()


def test_a_run_is_found_by_step_and_receipt_and_shows_its_job(synced) -> None:
    root, _ = synced
    (run,) = runs(root, "tags.`attribution.step` = 'train' and tags.`attribution.receipt` = 'r1'")
    assert run.info.run_name == "train/full"
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (1_714_557_600_000, 1_714_557_612_500)
    assert run.data.params["training.learning_rate"] == "0.003"
    assert run.data.tags["attribution.commit"] == "c" * 40
    assert {name: run.data.metrics[name] for name in ("seconds", "cpu_seconds", "peak_mb")} == {
        "seconds": 12.5,
        "cpu_seconds": 11.0,
        "peak_mb": 321.0,
    }
    assert history(root, run.info.run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    (numbers,) = runs(root, "tags.`attribution.path` = 'summary/numbers'")
    assert numbers.data.metrics["lds.ekfac.generated"] == 0.25
    assert numbers.data.metrics["lds.ekfac.generated.high"] == 0.5


def test_a_run_is_found_by_its_method(root: Path, write_job) -> None:
    for receipt, method in (("r3", "trak"), ("r4", "ekfac")):
        write_job(root, f"scores/full/{method}", receipt, spec={"job": {"method": method}})
    assert sync(root, "toy", URI) == Summary(2, 0, 2, ())
    (run,) = runs(root, "params.`job.method` = 'trak'")
    assert (run.info.run_name, run.data.tags["attribution.receipt"]) == ("scores/full/trak", "r3")


def test_nothing_to_do_needs_no_mlflow(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from attribution.tracking.mirror import sync;"
        f"summary = sync(Path('.'), 'toy', {URI!r});"
        "print(summary.unchanged, summary.new + summary.updated, *summary.warnings, 'mlflow' in sys.modules)"
    )
    state = root / "results/toy/tracking/mirrored.json"
    written = state.stat().st_mtime_ns
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(SOURCE)},
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.split() == ["2", "0", "False"]  # the import of mlflow alone takes seconds
    assert state.stat().st_mtime_ns == written


def test_touched_files_are_read_again_but_not_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.tracking.mirror.Store", None)  # calling it would be a warning
    os.utime(root / "results/toy/train/full/receipt.json")
    assert sync(root, "toy", URI) == Summary(0, 0, 2, ())


def test_a_lost_state_file_writes_nothing_twice(root: Path) -> None:
    (root / "results/toy/tracking/mirrored.json").unlink()
    before = {run.info.run_id: run.data.tags for run in runs(root)}
    assert sync(root, "toy", URI) == Summary(0, 0, 2, ())
    assert {run.info.run_id: run.data.tags for run in runs(root)} == before


def test_a_deleted_database_is_written_again(root: Path) -> None:
    (root / "results/toy/tracking/mlflow.db").unlink()
    assert sync(root, "toy", URI) == Summary(2, 0, 0, ())
    assert len(runs(root)) == 2


def test_a_store_that_knows_nothing_is_written_again(root: Path, tmp_path: Path) -> None:
    store_module._create_database(tmp_path / "empty.db", "file:///artifacts")
    (tmp_path / "empty.db").replace(root / "results/toy/tracking/mlflow.db")  # the state file is not to be believed
    receipt = root / "results/toy/train/full/receipt.json"
    receipt.write_text(receipt.read_text().replace('"node7"', '"node8"'))
    assert sync(root, "toy", URI) == Summary(2, 0, 0, ())  # 1 new, 1 unchanged by the state file alone
    assert len(runs(root)) == 2


def test_a_job_that_was_rerun_gets_a_new_run_and_a_return_to_the_old_one_its_old_run(
    root: Path, write_job, training_log
) -> None:
    (old,) = runs(root, "tags.`attribution.receipt` = 'r1'")
    kept = root.parent / "kept"
    shutil.copytree(root / "results/toy/train/full", kept)
    write_job(root, "train/full", "r3", log=training_log[:2], started="2024-05-02T10:00:00Z")
    assert sync(root, "toy", URI) == Summary(1, 0, 1, ())
    (new,) = runs(root, "tags.`attribution.path` = 'train/full' and tags.`attribution.superseded` = 'false'")
    assert new.data.tags["attribution.receipt"] == "r3"
    assert len(history(root, new.info.run_id, "loss")) == 2
    (superseded,) = runs(root, "tags.`attribution.superseded` = 'true'")
    assert superseded.info.run_id == old.info.run_id
    shutil.rmtree(root / "results/toy/train/full")
    shutil.copytree(kept, root / "results/toy/train/full")  # what dvc checkout does
    assert sync(root, "toy", URI) == Summary(0, 1, 1, ())
    (current,) = runs(root, "tags.`attribution.path` = 'train/full' and tags.`attribution.superseded` = 'false'")
    assert current.info.run_id == old.info.run_id
    assert len(history(root, old.info.run_id, "loss")) == 3  # written twice, kept once


def test_a_job_that_was_rerun_with_the_same_receipt_id_updates_its_run(root: Path, write_job, training_log) -> None:
    write_job(root, "train/full", "r1", log=training_log, started="2024-05-03T10:00:00Z", seconds=99.0, host="node9")
    assert sync(root, "toy", URI) == Summary(0, 1, 1, ())
    (run,) = runs(root, "tags.`attribution.path` = 'train/full'")
    assert (run.data.metrics["seconds"], run.data.tags["attribution.host"]) == (99.0, "node9")


def test_a_sync_that_was_cut_off_is_completed(root: Path, write_job, training_log, monkeypatch) -> None:
    long = [{"step": step, "loss": float(step)} for step in range(2500)]
    write_job(root, "train/other", "r4", log=long)
    with monkeypatch.context() as patch:
        calls = []

        def measure(self, run, points, moment):
            calls.append(1)
            if len(calls) > 1:
                raise OSError("disk full")
            original(self, run, points[:1000], moment)

        original = store_module.Store.measure
        patch.setattr(store_module.Store, "measure", measure)
        summary = sync(root, "toy", URI)
    assert (summary.new, len(summary.warnings)) == (0, 1)
    assert "disk full; 1 jobs left for the next sync" in summary.warnings[0]
    assert sync(root, "toy", URI) == Summary(0, 1, 2, ())
    (run,) = runs(root, "tags.`attribution.path` = 'train/other'")
    assert run.info.status == "FINISHED"
    assert len(history(root, run.info.run_id, "loss")) == 2500


def test_one_damaged_receipt_does_not_stop_the_others(root: Path, write_job) -> None:
    (write_job(root, "train/a", "r5") / "receipt.json").write_text("{")
    write_job(root, "train/b", "r6", inputs=7)  # an integer where a list belongs
    write_job(root, "train/c", "r7")
    summary = sync(root, "toy", URI)
    assert (summary.new, summary.updated, summary.unchanged) == (1, 0, 2)
    assert len(summary.warnings) == 2
    assert "train/a" in summary.warnings[0]


def test_a_run_that_somebody_deleted_is_not_made_again(root: Path) -> None:
    import mlflow

    (run,) = runs(root, "tags.`attribution.receipt` = 'r1'")
    mlflow.MlflowClient(f"sqlite:///{root}/results/toy/tracking/mlflow.db").delete_run(run.info.run_id)
    (root / "results/toy/tracking/mirrored.json").unlink()
    assert sync(root, "toy", URI) == Summary(0, 0, 2, ())
    assert len(runs(root)) == 1


def test_a_study_without_results_is_a_warning(tmp_path: Path) -> None:
    assert sync(tmp_path, "toy", URI).warnings == ("toy: not mirrored: results/toy does not exist yet",)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("arguments", [[], ["sync"], ["follow", "toy"], ["sync", "../toy"], ["watch", "toy"]])
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    from attribution.tracking.__main__ import main

    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_a_sqlite_address_is_relative_to_the_root(tmp_path: Path) -> None:
    assert store_module.database_of(tmp_path, parse(URI)) == tmp_path / "results/toy/tracking/mlflow.db"
    assert store_module.database_of(tmp_path, parse("http://host")) is None
