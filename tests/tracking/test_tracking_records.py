"""Addresses and records: no secret leaves an address; a study is its methods, and its jobs by stage."""

import json
from pathlib import Path

import pytest

from attribution.tracking import records
from attribution.tracking.address import choose, scrub

LOCAL = "sqlite:///results/toy/tracking/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "clean", "username", "password"),
    [
        ("http://host:5000", "http://host:5000", None, None),
        ("https://me:s3cret@host/mlflow/", "https://host/mlflow", "me", "s3cret"),
        ("HTTP://me:s%2Fe%40t@host:80?token=abc#x", "http://host:80", "me", "s/e@t"),
        ("http://me:s/e@t@host", "http://host", "me", "s/e@t"),  # urlsplit takes me:s for the host and prints it
        ("http://s3cret@host", "http://host", "s3cret", ""),
    ],
)
def test_credentials_are_moved_out_of_an_address(uri: str, clean: str, username: str, password: str) -> None:
    environ = {"MLFLOW_TRACKING_URI": f" {uri}"}
    assert choose("toy", environ) == (clean, None)
    assert environ.pop("MLFLOW_TRACKING_URI") == clean
    assert (environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD")) == (username, password)
    assert choose("toy", environ | {"MLFLOW_TRACKING_URI": clean}) == (clean, None)  # for the next study


def test_messages_are_one_line_without_credentials() -> None:
    text = "request to http://me:s3cret@host/api failed: s3cret\nTraceback http://me:s3cret@host"
    assert scrub(text, "s3cret") == "request to http://host/api failed: ***"
    assert len(scrub("x" * 999, None)) == 200


@pytest.mark.parametrize("uri", ["postgresql://me:s3cret@host/db", "sqlite:///other.db", "databricks", "/tmp/mlruns"])
def test_other_stores_are_ignored_by_a_warning_that_does_not_repeat_them(uri: str) -> None:
    chosen, warning = choose("toy", {"MLFLOW_TRACKING_URI": uri})
    assert chosen == LOCAL
    assert LOCAL in warning
    assert uri not in warning
    assert choose("toy", {}) == (LOCAL, None)


def of(folder: Path, failed: bool = False) -> dict[str, records.Record]:
    found, warnings = records.of_study(folder / "results/toy", failed)
    assert warnings == []
    return {record.path: record for record in found}


def test_a_job_holds_what_the_receipt_says(tmp_path: Path, write_job, training_log) -> None:
    folder = write_job(tmp_path, "train/full", "r1", log=training_log)
    record = of(tmp_path)["train/full"]
    assert record.params == {
        "seed": "0",
        "training.steps": "3",
        "training.learning_rate": "0.003",
        "job.cohort": "full",
    }
    assert record.tags == {
        "attribution.step": "train",
        "attribution.receipt": "r1",
        "attribution.code": "f" * 64,
        "attribution.commit": "c" * 40,
        "attribution.dirty": "False",
        "attribution.host": "node7",
        "attribution.slurm_job": "4711",
        "mlflow.source.git.commit": "c" * 40,
        "mlflow.source.name": "attribution.steps.train",
        "mlflow.source.type": "JOB",
    }
    size = 8 + (folder / "log.jsonl").stat().st_size
    assert record.metrics == {"seconds": 12.5, "cpu_seconds": 11.0, "peak_mb": 321.0, "output_bytes": size}
    assert record.started == 1_714_557_600_000  # date -u -d 2024-05-01T10:00 +%s000; local time would be hours off
    assert record.ended == record.started + 12_500
    assert ("loss", 0.5, 2) in record.curve
    assert len(record.curve) == 6


def test_stages_and_the_study_hold_the_sum_of_their_jobs(tmp_path: Path, write_job) -> None:
    write_job(tmp_path, "train/a", "r1")
    write_job(tmp_path, "train/b", "r2", seconds=2.0, peak_mb=400.0, started="2024-05-01T09:00:00+00:00")
    write_job(tmp_path, "lds/x/y", "r3", cpu_seconds=None)
    write_job(tmp_path, "tracking/artifacts/numbers", "r4")  # what was uploaded is no job
    found = of(tmp_path)
    shape = {path: (record.parent, record.metrics["jobs"]) for path, record in found.items() if record.group}
    assert shape == {"study": (None, 3.0), "lds": ("study", 1.0), "train": ("study", 2.0)}
    assert found["lds/x/y"].parent == "lds"
    train = found["train"]
    assert (train.metrics["seconds"], train.metrics["peak_mb"], train.ended - train.started) == (14.5, 400.0, 3_612_500)
    assert "cpu_seconds" not in found["lds"].metrics
    assert list(found).index("study") == 0
    assert all(list(found).index(record.parent) < at for at, record in enumerate(found.values()) if record.parent)


def test_a_study_is_running_until_its_numbers_are_there_or_a_job_failed(tmp_path: Path, write_job) -> None:
    write_job(tmp_path, "train/a", "r1")
    assert (of(tmp_path)["study"].status, of(tmp_path, failed=True)["study"].status) == ("RUNNING", "FAILED")
    write_job(tmp_path, "summary/numbers", "r2", numbers={})
    assert (of(tmp_path)["study"].status, of(tmp_path, failed=True)["study"].status) == ("FINISHED", "FAILED")


def test_a_method_has_its_settings_and_its_numbers_without_its_name(tmp_path: Path, write_job) -> None:
    numbers = {
        "lds.ekfac.generated": {"value": 0.25, "interval": [0.125, 0.5]},
        "lds.ekfac.generated.elbo": {"value": 0.5, "interval": None},  # of another target: one of hundreds
        "damping.ekfac.generated": {"value": 3, "interval": [1, 4]},
        "lds_difference.ekfac_trak.generated": {"value": 0.5, "interval": [0, 1]},
        "lds.ceiling.generated": {"value": 0.75, "interval": [0.5, None]},
        "cost.train.seconds": {"value": 1, "interval": None},
    }
    settings = {"job": {"method": "ekfac"}, "methods": {"ekfac": {"damping": 0.1}}}
    write_job(tmp_path, "scores/full/ekfac", "r1", spec=settings)
    write_job(tmp_path, "scores/seed1/ekfac", "r2", spec=settings | {"methods": {"ekfac": {"damping": 9}}})
    write_job(tmp_path, "summary/numbers", "r3", numbers=numbers)
    found = of(tmp_path)
    assert {path for path in found if path.startswith("methods")} == {"methods", "methods/ekfac", "methods/ceiling"}
    ekfac = found["methods/ekfac"]
    assert ekfac.metrics == {
        "lds.generated": 0.25,
        "lds.generated.low": 0.125,
        "lds.generated.high": 0.5,
        "damping.generated": 3.0,
    }
    assert ekfac.params == {"job.method": "ekfac", "damping": "0.1"}
    assert ekfac.tags == {"attribution.method": "ekfac", "attribution.scores": "r1"}
    assert found["methods/ceiling"].metrics == {"lds.generated": 0.75, "lds.generated.low": 0.5}
    assert not any("lds.generated" in record.metrics for path, record in found.items() if "methods" not in path)


def test_a_curve_of_seconds_is_not_the_cost_of_the_job(tmp_path: Path, write_job) -> None:
    write_job(tmp_path, "train/a", "r1", log=[{"step": 1, "loss": float("nan"), "name": "x", "ok": True, "seconds": 3}])
    curve = of(tmp_path)["train/a"].curve
    assert [(name, step) for name, _, step in curve] == [("loss", 1), ("log.seconds", 1)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"', '{"format": 1, "id": "x", "outputs": 7}'])
def test_a_damaged_receipt_is_named_and_spoils_no_other(tmp_path: Path, write_job, content: str) -> None:
    write_job(tmp_path, "train/b", "r2")
    (write_job(tmp_path, "train/a", "r1") / "receipt.json").write_text(content)
    found, (warning,) = records.of_study(tmp_path / "results/toy", failed=False)
    assert [record.path for record in found] == ["study", "train", "train/b"]
    assert warning.startswith("train/a: not mirrored: ")


def test_a_digest_changes_with_all_that_is_shown(tmp_path: Path, write_job, training_log) -> None:
    seen = [of(tmp_path)[path].digest for path in ("study", "train/a") for _ in (write_job(tmp_path, "train/a", "r1"),)]
    for changes in ({"host": "node8"}, {"log": training_log}, {"spec": {"seed": 1}}, {"seconds": 1.0}):
        write_job(tmp_path, "train/a", "r1", **changes)
        seen += [of(tmp_path)[path].digest for path in ("study", "train/a")]
    assert len(set(seen)) == len(seen) == 10
    assert json.dumps(seen)
