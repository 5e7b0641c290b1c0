"""Jobs as their steps leave them: a folder with a receipt, a training log, a table of numbers."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
