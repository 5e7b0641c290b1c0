"""Addresses and records: no secret leaves an address, and every name and value is one that mlflow takes."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import StudyError
from attribution.tracking import records
from attribution.tracking.address import choose, credentials, default_uri, parse, scrub


@pytest.mark.parametrize(
    ("uri", "clean", "username", "password"),
    [
        ("http://host:5000", "http://host:5000", "", ""),
        ("https://me:s3cret@host/mlflow/", "https://host/mlflow", "me", "s3cret"),
        ("HTTP://me:s%2Fe%40t@host:80?token=abc#x", "http://host:80", "me", "s/e@t"),
        ("http://me:s/e@t@host", "http://host", "me", "s/e@t"),  # urlsplit takes me:s for the host and prints it
        ("http://s3cret@host", "http://host", "s3cret", ""),
        ("sqlite:///results/toy/tracking/mlflow.db", "sqlite:///results/toy/tracking/mlflow.db", "", ""),
    ],
)
def test_credentials_are_cut_out_of_an_address(uri: str, clean: str, username: str, password: str) -> None:
    address = parse(uri)
    assert (address.uri, address.username, address.password) == (clean, username, password)
    assert not password or password not in repr(address)


def test_credentials_reach_mlflow_by_the_environment_and_leave_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "other")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    with credentials(parse("http://me:s3cret@host")):
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "s3cret")
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "other"
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_messages_are_one_line_without_credentials() -> None:
    text = "request to http://me:s3cret@host/api failed: s3cret\nTraceback http://me:s3cret@host"
    assert scrub(text, parse("http://me:s3cret@host")) == "request to http://host/api failed: ***"
    assert len(scrub("x" * 999, parse("http://host"))) == 200


@pytest.mark.parametrize("uri", ["postgresql://me:s3cret@host/db", "sqlite:///other.db", "databricks", "/tmp/mlruns"])
def test_other_stores_are_ignored_by_a_warning_that_does_not_repeat_them(uri: str) -> None:
    chosen, warning = choose("toy", {"MLFLOW_TRACKING_URI": uri})
    assert chosen == default_uri("toy")
    assert default_uri("toy") in warning
    assert "s3cret" not in warning


@pytest.mark.parametrize(("uri", "chosen"), [("", default_uri("toy")), (" https://host ", "https://host")])
def test_servers_are_taken_and_nothing_is_the_default(uri: str, chosen: str) -> None:
    assert choose("toy", {"MLFLOW_TRACKING_URI": uri}) == (chosen, None)


def test_a_record_holds_what_the_receipt_says(tmp_path: Path, write_job, training_log) -> None:
    write_job(tmp_path, "train/full", "r1", log=training_log)
    (job,) = records.find(tmp_path / "results" / "toy")
    record = records.read(job)
    assert (record.path, record.receipt) == ("train/full", "r1")
    assert record.params == {
        "seed": "0",
        "training.steps": "3",
        "training.learning_rate": "0.003",
        "job.cohort": "full",
    }
    assert record.tags == {
        "attribution.path": "train/full",
        "attribution.step": "train",
        "attribution.code": "f" * 64,
        "attribution.lock": "e" * 64,
        "attribution.commit": "c" * 40,
        "attribution.dirty": "false",
        "attribution.host": "node7",
        "attribution.slurm_job": "4711",
        "attribution.started": "2024-05-01T10:00:00+00:00",
        "attribution.inputs": "d" * 64,
        "mlflow.source.git.commit": "c" * 40,
        "mlflow.source.name": "attribution.steps.train",
    }
    size = 8 + (job.folder / "log.jsonl").stat().st_size
    assert record.metrics == {"seconds": 12.5, "cpu_seconds": 11.0, "peak_mb": 321.0, "output_bytes": size}
    assert record.started == 1_714_557_600_000  # date -u -d 2024-05-01T10:00 +%s000; local time would be hours off
    assert record.ended == record.started + 12_500
    curve, bad = records.points(record.log)
    assert ("loss", 0.5, 2) in curve
    assert (len(curve), bad) == (6, 0)


def test_numbers_become_metrics_with_the_ends_of_their_intervals(tmp_path: Path, write_job) -> None:
    numbers = {
        "lds.ekfac.generated": {"value": 0.25, "interval": [0.125, 0.5], "n": 50, "unit": "rho", "receipt": "r"},
        "cost.ekfac.seconds": {"value": 3, "interval": None},
        "lds.none.heldout": {"value": None},
    }
    write_job(tmp_path, "summary/numbers", "r1", numbers=numbers)
    (job,) = records.find(tmp_path / "results" / "toy")
    metrics = records.read(job).metrics
    found = {name: value for name, value in metrics.items() if "." in name}
    assert found == {
        "lds.ekfac.generated": 0.25,
        "lds.ekfac.generated.low": 0.125,
        "lds.ekfac.generated.high": 0.5,
        "cost.ekfac.seconds": 3.0,
    }


def test_numbers_without_a_receipt_are_known_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "summary" / "numbers" / "numbers.json"
    file.parent.mkdir(parents=True)
    identities = set()
    for value in (1.0, 2.0, 1.0):
        file.write_text(json.dumps({"lds.ekfac.generated": {"value": value}}))
        (job,) = records.find(tmp_path)
        assert job.finished
        identities.add(records.read(job).receipt)
    assert len(identities) == 2


def test_a_log_of_another_run_than_the_receipt_tells_of_is_left_out(tmp_path: Path, write_job, training_log) -> None:
    folder = write_job(tmp_path, "train/full", "r1", log=training_log)
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "loss": 9.0}\n')
    (job,) = records.find(tmp_path / "results" / "toy")
    assert records.read(job).log == b""


def test_unfinished_and_damaged_lines_of_a_log() -> None:
    log = (
        b'{"step": 1, "loss": NaN, "name": "x", "ok": true}\n[1]\n{"loss": 2}\n{"step": 2, "seconds": 3}\n{"step": 3, '
    )
    curve, bad = records.points(log)
    assert bad == 2  # [1] and the line without a step; the last one is still being written
    assert [(name, step) for name, _, step in curve] == [("loss", 1), ("log.seconds", 2)]  # not the job's seconds


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"'])
def test_a_damaged_receipt_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "train" / "full").mkdir(parents=True)
    (tmp_path / "train" / "full" / "receipt.json").write_text(content)
    (job,) = records.find(tmp_path)
    with pytest.raises(StudyError, match=r"train/full/receipt\.json: damaged"):
        records.read(job)


def test_many_inputs_and_long_values_keep_to_the_limits(tmp_path: Path, write_job) -> None:
    inputs = [{"receipt": f"{index:064d}"} for index in range(150)]
    write_job(tmp_path, "train/full", "r1", inputs=inputs, spec={"long": "x" * 9999, "list": list(range(9))})
    (job,) = records.find(tmp_path / "results" / "toy")
    record = records.read(job)
    tags = [record.tags[name] for name in ("attribution.inputs", "attribution.inputs.1", "attribution.inputs.2")]
    assert " ".join(tags).split() == [item["receipt"] for item in inputs]  # one tag of 5000 would hold 76 of 150
    assert max(map(len, tags)) <= records.TAG_LENGTH
    assert len(record.params["long"]) == records.PARAM_LENGTH
    assert record.params["list"] == "[0, 1, 2, 3, 4, 5, 6, 7, 8]"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text() | st.sampled_from(["", ".", "..", "a/b", "a//b", "../a", "a:b", "a\nb", "x" * 251, "é"])))
def test_names_are_valid_and_stay_apart(names: list[str]) -> None:
    from mlflow.utils.validation import _validate_length_limit, _validate_param_name

    names = [name.encode("utf-8", "ignore").decode() for name in names]
    cleaned = {name: records.clean(name) for name in names}
    for name in cleaned.values():
        _validate_param_name(name)
        _validate_length_limit("name", 250, name)
    assert len(set(cleaned.values())) == len(cleaned)


@pytest.mark.parametrize("name", ["loss", "training.learning_rate", "lds.kfac.generated", "block 1", "a-b"])
def test_ordinary_names_are_kept(name: str) -> None:
    assert records.clean(name) == name
