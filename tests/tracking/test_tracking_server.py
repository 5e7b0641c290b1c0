"""Servers: a real one, and those that are away, silent or refuse."""

import base64
import http.server
import socket
import threading
from pathlib import Path

import pytest

from attribution.tracking.mirror import Summary, sync

NUMBERS = {"lds.ekfac.generated": {"value": 0.25, "interval": None}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TIMEOUT": "5", "MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)


@pytest.mark.slow
def test_a_server_gets_everything_once_and_loses_nothing_by_an_outage(
    server, tmp_path: Path, write_job, training_log, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    write_job(tmp_path, "train/full", "r1", log=training_log)
    write_job(tmp_path, "summary/numbers", "r2", numbers=NUMBERS)
    secret = server.uri.replace("//", "//me:s3cret@")
    process = command(tmp_path, "sync", "toy", MLFLOW_TRACKING_URI=secret)
    out, err = process.communicate(timeout=300)
    assert (out, err) == (f"tracking: toy: 7 runs written, 0 unchanged in {server.uri}\n", "")
    client = mlflow.MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("toy").experiment_id
    (study,) = client.search_runs([experiment], "tags.`attribution.path` = 'study'")
    assert client.list_artifacts(study.info.run_id, "numbers")
    assert "s3cret" not in "".join(str(run.to_dictionary()) for run in client.search_runs([experiment]))
    (run,) = client.search_runs([experiment], "tags.`attribution.receipt` = 'r1'")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]

    server.stop()
    write_job(tmp_path, "train/late", "r3")
    assert len(sync(tmp_path, "toy", server.uri).warnings) == 1
    server.start()
    assert sync(tmp_path, "toy", server.uri) == Summary(3, 5, [])
    assert sync(tmp_path, "toy", server.uri) == Summary(0, 8, [])
    assert b"s3cret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_server_that_is_away_is_one_warning(tmp_path: Path, write_job, command) -> None:
    write_job(tmp_path, "train/one", "r1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = command(tmp_path, "sync", "toy", MLFLOW_TRACKING_URI=f"http://me:s3cret@127.0.0.1:{port}")
    out, err = process.communicate(timeout=60)  # mlflow's own patience is minutes
    assert process.returncode == 0
    assert len(err.splitlines()) == 1
    assert f"tracking: warning: toy: not mirrored to http://127.0.0.1:{port}: " in err
    assert "s3cret" not in out + err


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, write_job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    write_job(tmp_path, "train/one", "r1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        summary = sync(tmp_path, "toy", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (summary.written, len(summary.warnings)) == (0, 1)


def test_credentials_are_sent_and_a_refusal_does_not_tell_them(tmp_path: Path, write_job, command) -> None:
    asked = []

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"who is me:s3cret?")

        def log_message(self, *arguments: object) -> None: ...

    write_job(tmp_path, "train/one", "r1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        address = f"http://me:s3cret@127.0.0.1:{refusing.server_port}"
        out, err = command(tmp_path, "sync", "toy", MLFLOW_TRACKING_URI=address).communicate(timeout=60)
        refusing.shutdown()
    assert set(asked) == {"Basic " + base64.b64encode(b"me:s3cret").decode()}
    assert len(err.splitlines()) == 1
    assert "s3cret" not in out + err
