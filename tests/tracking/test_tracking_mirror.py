"""The local mirror: every run once, however often and by however many processes it is synced."""

import os
import shutil
from pathlib import Path

import pytest

from attribution.tracking import mirror
from attribution.tracking.__main__ import main
from attribution.tracking.mirror import Summary, sync

LOCAL = "sqlite:///results/toy/tracking/mlflow.db"
NUMBERS = {"lds.ekfac.generated": {"value": 0.25, "interval": [0.125, 0.5]}}


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, write_job, training_log, command) -> tuple[Path, list[tuple]]:
    """A study of three jobs that two processes sync at once onto no database, and what they said."""
    root = tmp_path_factory.mktemp("synced")
    write_job(root, "train/full", "r1", log=training_log)
    write_job(root, "scores/full/ekfac", "r3", spec={"job": {"method": "ekfac"}})
    write_job(root, "summary/numbers", "r2", numbers=NUMBERS)
    write_job(root, "summary/figures", "r4")
    processes = [command(root, "sync", "toy", MLFLOW_TRACKING_URI="postgresql://me:s3cret@host/db") for _ in range(2)]
    return root, [(*process.communicate(timeout=300), process.returncode) for process in processes]


@pytest.fixture
def root(synced, tmp_path: Path) -> Path:
    """A copy of that study, database and all; the tests in it run in this process."""
    shutil.copytree(synced[0], tmp_path / "copy")
    return tmp_path / "copy"


def client(root: Path):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{root}/results/toy/tracking/mlflow.db")


def runs(root: Path, query: str = "") -> list:
    found = client(root).get_experiment_by_name("toy")
    assert not client(root).search_runs(["0"])  # none strayed into the default experiment
    return client(root).search_runs([found.experiment_id], query)


def run_of(root: Path, path: str):
    """The current run of a path."""
    (run,) = runs(root, f"tags.`attribution.path` = '{path}' and tags.`attribution.superseded` = 'false'")
    return run


def history(root: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client(root).get_metric_history(run_id, metric))


def test_two_processes_at_once_make_one_database_and_every_run_once(synced) -> None:
    root, said = synced
    assert [status for _, _, status in said] == [0, 0]
    assert sorted(" ".join(out.split()[2:7]) for out, _, _ in said) == [
        "0 runs written, 10 unchanged",
        "10 runs written, 0 unchanged",
    ]
    assert len(runs(root)) == 10
    tracking = root / "results/toy/tracking"
    assert {file.name for file in tracking.iterdir()} == {"mlflow.db", "artifacts", ".lock"}
    assert not (root / "mlruns").exists()
    assert not (root / "mlflow.db").exists()


def test_another_kind_of_store_is_ignored_and_its_password_not_told(synced) -> None:
    for out, err, _ in synced[1]:
        assert err == (
            f"tracking: warning: MLFLOW_TRACKING_URI is no http(s) address and is ignored; writing to {LOCAL}\n"
        )
        assert "s3cret" not in out + err


def test_a_job_is_found_by_step_and_receipt_and_shows_what_it_did(synced) -> None:
    root, _ = synced
    (run,) = runs(root, "tags.`attribution.step` = 'train' and tags.`attribution.receipt` = 'r1'")
    assert (run.info.run_name, run.info.status) == ("train/full", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1_714_557_600_000, 1_714_557_612_500)
    assert run.data.params["training.learning_rate"] == "0.003"
    assert run.data.tags["attribution.commit"] == "c" * 40
    assert {name: run.data.metrics[name] for name in ("seconds", "cpu_seconds", "peak_mb")} == {
        "seconds": 12.5,
        "cpu_seconds": 11.0,
        "peak_mb": 321.0,
    }
    assert history(root, run.info.run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_runs_are_nested_under_their_stage_and_the_study(synced) -> None:
    root, _ = synced
    ids = {run.info.run_id: run.data.tags["attribution.path"] for run in runs(root)}
    parents = {
        run.data.tags["attribution.path"]: ids.get(run.data.tags.get("mlflow.parentRunId")) for run in runs(root)
    }
    assert parents == {
        "study": None,
        "train": "study",
        "scores": "study",
        "summary": "study",
        "methods": "study",
        "methods/ekfac": "methods",
        "train/full": "train",
        "scores/full/ekfac": "scores",
        "summary/numbers": "summary",
        "summary/figures": "summary",
    }
    method = run_of(root, "methods/ekfac")
    assert (method.info.run_name, method.data.params) == ("ekfac", {"job.method": "ekfac"})
    assert method.data.metrics == {"lds.generated": 0.25, "lds.generated.low": 0.125, "lds.generated.high": 0.5}


def test_figures_and_numbers_are_artifacts_of_the_study(synced) -> None:
    root, _ = synced
    study = run_of(root, "study")
    assert study.info.run_name == "toy"
    assert [item.path for item in client(root).list_artifacts(study.info.run_id)] == ["figures", "numbers"]
    copy = client(root).download_artifacts(study.info.run_id, "numbers/numbers.json")
    assert Path(copy).read_bytes() == (root / "results/toy/summary/numbers/numbers.json").read_bytes()


def test_nothing_to_do_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror.Mirror, "_show", None)  # calling it would be a warning
    os.utime(root / "results/toy/train/full/receipt.json")
    assert sync(root, "toy", LOCAL) == Summary(0, 10, [])


def test_a_deleted_database_is_written_again(root: Path) -> None:
    (root / "results/toy/tracking/mlflow.db").unlink()
    assert sync(root, "toy", LOCAL) == Summary(10, 0, [])
    assert len(runs(root)) == 10


def test_a_job_that_was_rerun_gets_a_new_run_and_a_return_to_the_old_one_its_old_run(
    root: Path, write_job, training_log
) -> None:
    old, study = run_of(root, "train/full"), run_of(root, "study")
    kept = root.parent / "kept"
    shutil.copytree(root / "results/toy/train/full", kept)
    write_job(root, "train/full", "r5", log=training_log[:2], seconds=100.0)
    assert sync(root, "toy", LOCAL) == Summary(3, 7, [])  # the job, its stage, the study
    new = run_of(root, "train/full")
    assert new.data.tags["attribution.receipt"] == "r5"
    assert len(history(root, new.info.run_id, "loss")) == 2
    (superseded,) = runs(root, "tags.`attribution.superseded` = 'true'")
    assert superseded.info.run_id == old.info.run_id
    assert run_of(root, "train").data.metrics["seconds"] == 100.0
    assert run_of(root, "study").info.run_id == study.info.run_id  # groups stay, or all below would move
    shutil.rmtree(root / "results/toy/train/full")
    shutil.copytree(kept, root / "results/toy/train/full")  # what dvc checkout does
    assert sync(root, "toy", LOCAL) == Summary(2, 8, [])
    assert run_of(root, "train/full").info.run_id == old.info.run_id
    assert run_of(root, "train").data.metrics["seconds"] == 12.5
    assert len(history(root, old.info.run_id, "loss")) == 3


def test_other_settings_of_a_method_are_another_run_to_compare_with(root: Path, write_job) -> None:
    spec = {"job": {"method": "ekfac"}, "methods": {"ekfac": {"damping": 0.5}}}
    write_job(root, "scores/full/ekfac", "r6", spec=spec)
    assert sync(root, "toy", LOCAL).warnings == []  # mlflow refuses to change a parameter of a run
    old, new = sorted(runs(root, "tags.`attribution.method` = 'ekfac'"), key=lambda run: "damping" in run.data.params)
    assert (new.data.params["damping"], new.data.tags["attribution.superseded"]) == ("0.5", "false")
    assert old.data.tags["attribution.superseded"] == "true"


def test_a_sync_that_was_cut_off_is_completed(root: Path, write_job, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    write_job(root, "train/other", "r7", log=[{"step": step, "loss": float(step)} for step in range(2500)])
    with monkeypatch.context() as patch:
        calls, original = [], mlflow.MlflowClient.log_batch

        def log_batch(self, run_id: str, **items: list) -> None:
            calls.append(1)
            if len(calls) == 5:  # the study, its stage, the first two of the curve's four parts
                raise OSError("disk full")
            original(self, run_id, **items)

        patch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
        summary = sync(root, "toy", LOCAL)
    assert summary.warnings == [f"toy: not mirrored to {LOCAL}: disk full; the next sync writes what is missing"]
    assert 0 < len(history(root, run_of(root, "train/other").info.run_id, "loss")) < 2500
    assert run_of(root, "train/other").info.status == "RUNNING"
    assert sync(root, "toy", LOCAL) == Summary(1, 10, [])
    run = run_of(root, "train/other")
    assert run.info.status == "FINISHED"
    assert len(history(root, run.info.run_id, "loss")) == 2500


def test_what_mlflow_refuses_of_one_run_does_not_stop_the_others(root: Path, write_job) -> None:
    (write_job(root, "train/a", "r8") / "receipt.json").write_text("{")
    write_job(root, "train/b", "r9", spec={"no:\n/name": 1})
    write_job(root, "train/c", "r10")
    summary = sync(root, "toy", LOCAL)
    assert [text.split(": ")[1] for text in summary.warnings] == ["train/a", "train/b"]
    assert run_of(root, "train/c").info.status == "FINISHED"


def test_a_run_that_somebody_deleted_is_not_made_again(root: Path) -> None:
    client(root).delete_run(run_of(root, "train/full").info.run_id)
    assert sync(root, "toy", LOCAL) == Summary(0, 10, [])
    assert len(runs(root)) == 9


def test_a_study_without_results_is_a_warning(tmp_path: Path) -> None:
    assert sync(tmp_path, "toy", LOCAL).warnings == ["toy: results/toy holds no finished job"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("arguments", [[], ["sync"], ["sync", "../toy"], ["watch", "toy"]])
def test_bad_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
