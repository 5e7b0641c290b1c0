"""Running jobs, seen live; servers that are away, silent or refuse; handlers that cannot hurt a run."""

import base64
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from attribution.tracking import handlers
from attribution.tracking.address import default_uri, parse
from attribution.tracking.follow import _tick, follow
from attribution.tracking.mirror import Summary, opened, sync
from attribution.tracking.records import find
from attribution.tracking.store import _create_database

SOURCE = Path(__file__).parents[2] / "src"
LOCAL = default_uri("toy")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(root: Path, uri: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "attribution.tracking", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def append(folder: Path, *steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as log:
        log.writelines(json.dumps({"step": step, "loss": 1.0 / step}) + "\n" for step in steps)


def client(uri: str):
    import mlflow

    return mlflow.MlflowClient(uri)


def runs(uri: str, path: str) -> list:
    """Runs of a job, oldest first."""
    experiment = client(uri).get_experiment_by_name("toy")
    if experiment is None:
        return []
    return client(uri).search_runs(
        [experiment.experiment_id], f"tags.`attribution.path` = '{path}'", order_by=["attributes.start_time ASC"]
    )


def steps(uri: str, run_id: str) -> list[int]:
    return sorted(point.step for point in client(uri).get_metric_history(run_id, "loss"))


@pytest.mark.slow
def test_jobs_are_followed_live_and_a_server_that_dies_loses_nothing(server, tmp_path: Path, write_job) -> None:
    root = tmp_path / "root"
    toy = root / "results" / "toy" / "train"
    secret = server.uri.replace("//", "//me:s3cret@")
    append(toy / "stale", 1)  # left by a job that failed long ago: not running
    server.start()
    stop = tmp_path / "stop"
    follower = command(root, secret, "follow", "toy", "--stop", str(stop), "--interval", "0.3")

    written = []

    def seen() -> list:
        written.append(len(written) + 1)
        append(toy / "one", written[-1])
        return runs(server.uri, "train/one")

    (live,) = server.eventually(seen)
    assert live.info.status == "RUNNING"
    log = [{"step": step, "loss": 1.0 / step} for step in [*written, len(written) + 1]]
    write_job(root, "train/one", "r1", log=log)
    (done,) = server.eventually(lambda: [run for run in runs(server.uri, "train/one") if run.info.status == "FINISHED"])
    assert done.info.run_id == live.info.run_id
    assert done.data.tags["attribution.receipt"] == "r1"
    assert done.data.params["training.steps"] == "3"
    assert steps(server.uri, done.info.run_id) == [line["step"] for line in log]  # each once, the last one too

    append(toy / "two", 1, 2)
    (two,) = server.eventually(lambda: runs(server.uri, "train/two"))
    server.stop()
    append(toy / "two", 3)
    write_job(root, "train/three", "r3")
    time.sleep(1.5)  # several intervals: still one warning
    stop.touch()
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert len(err.splitlines()) == 1
    assert f"{server.uri} cannot be reached" in err or f"API request to {server.uri}" in err
    assert "left for the next sync" in err
    state = (root / "results/toy/tracking/mirrored.json").read_text()
    assert "s3cret" not in out + err + state

    server.start()
    assert runs(server.uri, "train/two")[0].info.status == "RUNNING"  # the follower could not say otherwise
    assert sync(root, "toy", secret) == Summary(1, 0, 1, ())
    (three,) = runs(server.uri, "train/three")
    assert three.info.status == "FINISHED"
    assert runs(server.uri, "train/two")[0].info.status == "FAILED"
    assert not runs(server.uri, "train/stale")
    # ... but its Slurm job went on, and its receipt comes later
    log = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    late = runs(server.uri, "train/two")[0].info.start_time / 1000
    write_job(root, "train/two", "r2", log=log, started=late, seconds=60)
    assert sync(root, "toy", secret) == Summary(0, 1, 2, ())
    (run,) = runs(server.uri, "train/two")
    assert (run.info.run_id, run.info.status) == (two.info.run_id, "FINISHED")
    assert steps(server.uri, run.info.run_id) == [1, 2, 3]
    assert sync(root, "toy", secret) == Summary(0, 0, 3, ())


@pytest.mark.parametrize("arguments", [["sync", "toy"], ["follow", "toy", "--stop", "stop"]])
def test_a_server_that_is_away_is_one_warning(tmp_path: Path, write_job, arguments: list[str]) -> None:
    write_job(tmp_path, "train/one", "r1")
    append(tmp_path / "results/toy/train/two", 1)
    (tmp_path / "stop").touch()
    process = command(tmp_path, f"http://me:s3cret@127.0.0.1:{free_port()}", *arguments)
    out, err = process.communicate(timeout=60)  # mlflow's own patience is minutes
    assert process.returncode == 0
    assert len(err.splitlines()) == 1
    assert "cannot be reached (Connection refused); 1 jobs left for the next sync" in err
    assert "s3cret" not in out + err


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, write_job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_job(tmp_path, "train/one", "r1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        summary = sync(tmp_path, "toy", f"http://me:s3cret@127.0.0.1:{silent.getsockname()[1]}")
    assert summary.new == 0
    assert len(summary.warnings) == 1
    assert "s3cret" not in summary.warnings[0]


def test_credentials_are_sent_and_a_refusal_does_not_tell_them(
    tmp_path: Path, write_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
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
        summary = sync(tmp_path, "toy", f"http://me:s3cret@127.0.0.1:{refusing.server_port}")
        refusing.shutdown()
    assert set(asked) == {"Basic " + base64.b64encode(b"me:s3cret").decode()}
    assert len(summary.warnings) == 1
    assert "s3cret" not in summary.warnings[0]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database; making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    _create_database(folder / "mlflow.db", (folder / "artifacts").as_uri())
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def study(tmp_path: Path, empty: bytes) -> tuple[Path, str]:
    """A root with an empty local mirror, which is followed like a server, and the address of that mirror."""
    database = tmp_path / "results/toy/tracking/mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(empty)
    return tmp_path, f"sqlite:///{database}"


def test_a_log_begun_anew_is_another_run(study: tuple[Path, str]) -> None:
    root, uri = study
    folder = root / "results/toy/train/one"
    with opened(root, "toy", parse(LOCAL), pytest.fail) as mirror:
        append(folder, 1, 2)
        _tick(mirror, {}, False)
        (folder / "log.jsonl").unlink()  # what Snakemake does before it retries a job
        append(folder, 1)
        _tick(mirror, {}, False)
        _tick(mirror, {}, True)
    assert sorted(steps(uri, run.info.run_id) for run in runs(uri, "train/one")) == [[1], [1, 2]]
    assert [run.info.status for run in runs(uri, "train/one")] == ["FAILED", "FAILED"]


def test_a_job_that_goes_on_after_its_follower_ended_keeps_its_run(study: tuple[Path, str]) -> None:
    root, uri = study
    folder = root / "results/toy/train/one"
    for first in (1, 3):
        before = {job.path: job.stamp for job in find(root / "results/toy")}
        append(folder, first, first + 1)
        with opened(root, "toy", parse(LOCAL), pytest.fail) as mirror:
            _tick(mirror, before, False)
            (run,) = runs(uri, "train/one")
            assert run.info.status == "RUNNING"
            _tick(mirror, before, True)
    (run,) = runs(uri, "train/one")
    assert (run.info.status, steps(uri, run.info.run_id)) == ("FAILED", [1, 2, 3, 4])


def test_a_run_is_found_again_where_the_state_file_is_lost(study: tuple[Path, str], write_job) -> None:
    root, uri = study
    folder = root / "results/toy/train/one"
    append(folder, 1)
    with opened(root, "toy", parse(LOCAL), pytest.fail) as mirror:
        _tick(mirror, {}, False)
    (root / "results/toy/tracking/mirrored.json").unlink()
    append(folder, 2)
    with opened(root, "toy", parse(LOCAL), pytest.fail) as mirror:
        _tick(mirror, {}, False)
    (root / "results/toy/tracking/mirrored.json").unlink()
    write_job(root, "train/one", "r1", log=[{"step": step, "loss": 1.0 / step} for step in (1, 2)])
    assert sync(root, "toy", LOCAL) == Summary(0, 1, 0, ())
    (run,) = runs(uri, "train/one")
    assert (run.info.status, steps(uri, run.info.run_id)) == ("FINISHED", [1, 2])


def test_a_rerun_is_shown_beside_the_run_that_it_supersedes(study: tuple[Path, str], write_job) -> None:
    root, uri = study
    folder = write_job(root, "train/one", "r1", log=[{"step": 1, "loss": 1.0}])
    before = {job.path: job.stamp for job in find(root / "results/toy")}
    with opened(root, "toy", parse(LOCAL), pytest.fail) as mirror:
        _tick(mirror, before, False)
        time.sleep(0.02)  # the clock of a file system ticks in steps of up to 10 ms
        append(folder, 2)  # an old receipt is no receipt of this log
        _tick(mirror, before, False)
        old, live = runs(uri, "train/one")
        assert [(run.info.status, len(steps(uri, run.info.run_id))) for run in (old, live)] == [
            ("FINISHED", 1),
            ("RUNNING", 2),
        ]
        time.sleep(0.02)
        write_job(root, "train/one", "r2", log=[{"step": step, "loss": 1.0 / step} for step in (1, 2)],
                  started=live.info.start_time / 1000)  # fmt: skip
        _tick(mirror, before, True)
    old, new = runs(uri, "train/one")
    assert new.info.run_id == live.info.run_id
    assert [run.data.tags["attribution.receipt"] for run in (old, new)] == ["r1", "r2"]
    assert [run.data.tags["attribution.superseded"] for run in (old, new)] == ["true", "false"]
    assert [run.info.status for run in (old, new)] == ["FINISHED", "FINISHED"]


def test_an_outage_is_one_warning_and_is_made_up_for(study: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    root, uri = study
    folder, warnings = root / "results/toy/train/one", []
    with opened(root, "toy", parse(LOCAL), warnings.append) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr("attribution.tracking.mirror.Store", None)
            for step in (1, 2, 3):
                append(folder, step)
                _tick(mirror, {}, False)
        assert len(warnings) == 1
        _tick(mirror, {}, False)
    (run,) = runs(uri, "train/one")
    assert steps(uri, run.info.run_id) == [1, 2, 3]


def test_the_follower_ends_with_its_parent(study: tuple[Path, str], tmp_path: Path, write_job) -> None:
    root, uri = study
    write_job(root, "train/one", "r1")
    gone = subprocess.Popen(["true"])
    gone.wait()
    follow(root, ["toy"], LOCAL, tmp_path / "never", 60.0, pytest.fail, gone.pid)
    assert len(runs(uri, "train/one")) == 1


def test_one_process_at_a_time(study: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, write_job) -> None:
    root, _ = study
    write_job(root, "train/one", "r1")
    monkeypatch.setattr("attribution.tracking.mirror.LOCK_SECONDS", 0.1)
    with opened(root, "toy", parse(LOCAL), pytest.fail):
        assert "another process is mirroring toy" in sync(root, "toy", LOCAL).warnings[0]


def test_handlers_need_nothing_but_the_standard_library() -> None:
    code = "import sys, attribution.tracking.handlers; print({'numpy', 'mlflow', 'safetensors'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr


def test_handlers_follow_a_server_and_finish_without_one(
    tmp_path: Path, write_job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    write_job(tmp_path, "train/one", "r1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:s3cret@127.0.0.1:{free_port()}")
    handlers.start(["toy"])
    ((child, stop),) = handlers._follower
    assert "s3cret" not in Path(f"/proc/{child.pid}/cmdline").read_text()
    handlers.finish(["toy"])
    assert child.returncode == 0  # told to stop, not killed
    assert not stop.parent.exists()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("tracking: warning: toy: http://127.0.0.1") == 2  # the follower's and the sync's
    assert "s3cret" not in err


@pytest.mark.parametrize("uri", ["", "sqlite:///other.db", "postgresql://me:s3cret@host/db"])
def test_handlers_follow_nothing_but_a_server(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    handlers.start(["toy"])
    assert not handlers._follower


def test_handlers_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ATTRIBUTION_TRACKING", "off")
    spawned = []
    monkeypatch.setattr(handlers, "_spawn", lambda *arguments: spawned.append(arguments))
    handlers.start(["toy"])
    handlers.finish(["toy"])
    assert spawned == []


def test_handlers_end_what_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "results" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    children = []

    def sleeper(*arguments: str) -> subprocess.Popen:
        children.append(subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True))
        return children[-1]

    monkeypatch.setattr(handlers, "_spawn", sleeper)
    monkeypatch.setattr(handlers, "SYNC_SECONDS", 0.2)
    handlers.finish(["toy"])
    assert children[0].returncode == -signal.SIGKILL
    assert "the sync took longer than 0 s and was ended" in capsys.readouterr().err


def test_handlers_say_nothing_of_studies_without_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers.finish(["toy", "other"])
    assert capfd.readouterr() == ("", "")


def test_handlers_never_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "results" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def broken(*arguments: str) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(handlers, "_spawn", broken)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    handlers.start(["toy"])
    handlers.finish(["toy"])
    assert len(capsys.readouterr().err.splitlines()) == 2
