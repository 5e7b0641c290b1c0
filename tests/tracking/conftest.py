"""Jobs as their steps leave them, a folder with a receipt, a training log, a table of numbers; and a real server."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
SPEC = {"seed": 0, "training": {"steps": 3, "learning_rate": 0.003}, "job": {"cohort": "full"}}
LOG = [{"step": step, "loss": 1.0 / step, "learning_rate": 0.003} for step in (1, 2, 3)]


def _receipt(folder: Path, path: str, identity: str, **changes: object) -> dict:
    outputs = [
        {"path": f"results/toy/{path}/{file.name}", "class": "bitwise", "bytes": file.stat().st_size}
        | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(folder.iterdir())
        if file.name != "receipt.json"
    ]
    run = {"commit": "c" * 40, "dirty": False, "host": "node7", "slurm_job": "4711"}
    run |= {"started": "2024-05-01T10:00:00+00:00", "seconds": 12.5, "cpu_seconds": 11.0, "peak_mb": 321.0}
    return {
        "format": 1,
        "step": path.split("/")[0],
        "id": identity,
        "spec": SPEC,
        "code": {"hash": "f" * 64, "modules": {}},
        "inputs": [{"name": "design", "path": "results/toy/design/all/x", "sha256": "a", "receipt": "d" * 64}],
        "outputs": outputs,
        "environment": {"lock": {"name": "cpu", "hash": "e" * 64}, "packages": {}},
        "run": run | {name: changes.pop(name) for name in list(changes) if name in run},
    } | changes


@pytest.fixture(scope="session")
def write_job() -> Callable[..., Path]:
    """write_job(root, "train/full", "id", log=[...], numbers={...}, **receipt or run fields) -> the job's folder."""

    def write(root: Path, path: str, identity: str, log=None, numbers=None, **changes: object) -> Path:
        folder = root / "results" / "toy" / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_bytes(b"12345678")
        if log is not None:
            (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        if numbers is not None:
            (folder / "numbers.json").write_text(json.dumps(numbers))
        (folder / "receipt.json").write_text(json.dumps(_receipt(folder, path, identity, **changes)))
        return folder

    return write


@pytest.fixture(scope="session")
def training_log() -> list[dict]:
    return LOG


def _port() -> int:
    """One that is free on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Server:
    """A real tracking server on the loopback interface, ended with its whole process group."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.process = folder, _port(), None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
             "--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
             "--artifacts-destination", str(self.folder / "artifacts")],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.eventually(self.healthy)

    @staticmethod
    def eventually(true: Callable[[], object], seconds: float = 300.0) -> object:
        """What `true` returns once it is true. A busy machine is no failure, so the limit is far."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.1)
        return found

    def healthy(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.Popen]:
    """command(root, "sync", "toy", MLFLOW_TRACKING_URI=...) -> the process, of a user who set nothing else."""

    def start(root: Path, *arguments: str, **variables: str) -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return subprocess.Popen(
            [sys.executable, "-m", "attribution.tracking", *arguments],
            cwd=root,
            env={**environment, "PYTHONPATH": str(SOURCE), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
