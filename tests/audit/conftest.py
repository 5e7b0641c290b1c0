"""A small finished study of receipts, made as jobs make them, with two methods, all its files, and published.

data, design -- models/full --+-- scores/full/a -- lds/a --+
                              +-- scores/full/b -- lds/b --+-- summary/numbers -- summary/tables, summary/figures
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attribution import pointers
from attribution.provenance import receipt, sums
from attribution.reporting.publish import publish
from attribution.workflow.dvc import file_md5

MODULES = {"attribution.steps.some": "c0ffee"}
README = (
    "Scores: <!-- n:demo/lds.a.heldout -->0.71 [0.60, 0.80]<!-- /n -->\n<!-- table:demo/lds -->\n{}<!-- /table -->\n"
)
TABLE = "| Method | Held-out |\n| :-- | --: |\n| A | 0.71 |\n| B | 0.40 |\n"


def job(root: Path, folder: str, step: str, inputs: dict[str, list[str]], files: dict[str, bytes], **spec: Any) -> str:
    """Write a job's files and its receipt under results/demo, as provenance.job does; the receipt's id."""
    place = root / "results/demo" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    paths = [(name, root / path) for name, listed in inputs.items() for path in listed]
    used = [receipt.input_record(name, path, root) for name, path in paths]
    code = receipt.hashlib.sha256(json.dumps(MODULES, sort_keys=True).encode()).hexdigest()
    written = {
        "format": receipt.FORMAT,
        "step": step,
        "id": receipt.identity(step, spec, code, "lock", used),
        "spec": spec,
        "code": {"hash": code, "modules": MODULES},
        "inputs": used,
        "outputs": [receipt.output_record(place / name, "tolerance", root) for name in files],
        "environment": {"lock": {"name": "cpu", "hash": "lock"}},
        "notes": {},
        "run": {
            "commit": "abc",
            "dirty": False,
            "seconds": 2.0,
            "started": "2026-01-01T00:00:00+00:00",
            "peak_mb": 10.0,
            "wall_seconds": 2.5,
        },
    }
    receipt.write(place, written)
    return written["id"]


def dumped(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def scores(method: str, value: float) -> dict[str, Any]:
    default = {"lds": value - 0.1, "interval": [0.1, 0.9], "damping": 0.1}
    least = {"lds": value - 0.2, "interval": [0.1, 0.9], "damping": 0.001}
    entry = {"lds": value, "interval": [value - 0.11, value + 0.09], "selected_damping": 0.3, "n": {"queries": 3}}
    return {"kinds": {"heldout": entry | {"default": default, "least": least}}, "targets": {}, "method": method}


def differences(records: dict[str, Any]) -> dict[str, Any]:
    """What the step `numbers` writes beside its numbers; the intervals stand for those of replicates."""

    def less(one: float, other: float, interval: list[float]) -> dict[str, Any]:
        return {"heldout": {"value": one - other, "interval": interval, "n": {"queries": 3}}}

    kinds = {method: record["kinds"]["heldout"] for method, record in records.items()}
    pair = less(kinds["a"]["lds"], kinds["b"]["lds"], [0.2, 0.4])
    tuning = {
        method: {to: less(kind["lds"], kind[to]["lds"], [0.05, 0.3]) for to in ("default", "least")}
        for method, kind in kinds.items()
    }
    return {"lds_difference": {"a_b": {"loss": pair}}, "lds_tuning": tuning}


def build(root: Path, pointed: bool = True) -> Path:
    """The study, without git around it; not `pointed`: its numbers as they were before they had pointers."""
    (root / "data").mkdir(parents=True)
    (root / "data/digits.safetensors").write_bytes(bytes(range(200)))
    md5 = file_md5(root / "data/digits.safetensors")
    entry = (
        f"  digits:\n    cmd: make\n    outs:\n    - path: data/digits.safetensors\n      hash: md5\n      md5: {md5}\n"
    )
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{entry}")
    (root / "config").mkdir()
    (root / "config/claims.yaml").write_text("claims: []\n")
    at = "results/demo/{}".format
    job(root, "data/images", "dataset", {}, {"train.safetensors": b"images"}, data={"dataset": "digits"}, dvc_md5=md5)
    job(root, "design/full", "design", {}, {"subsets.safetensors": b"all of them"}, seed=0)
    read = {"data": [at("data/images/train.safetensors")], "subsets": [at("design/full/subsets.safetensors")]}
    job(root, "models/full", "train", read, {"models.safetensors": b"weights", "log.jsonl": b'{"step": 1}\n'}, steps=10)
    numbers: dict[str, Any] = {}
    records = {"a": scores("a", 0.71), "b": scores("b", 0.4)}
    made = {}
    for method, record in records.items():
        model = {"model": [at("models/full/models.safetensors")]}
        job(root, f"scores/full/{method}", "score", model, {"scores.safetensors": method.encode() * 9}, of=method)
        scored = {"scores": [at(f"scores/full/{method}/scores.safetensors")]}
        files = {"lds.json": dumped(record), "lds.safetensors": b"replicates of " + method.encode()}
        made[method] = job(root, f"lds/{method}", "lds", scored, files, of=method)
        numbers |= pointers.numbers(at(f"lds/{method}/lds.json"), record, made[method])
    metrics = {"lds": [at(f"lds/{method}/lds.json") for method in "ab"]}
    metrics["arrays"] = [at(f"lds/{method}/lds.safetensors") for method in "ab"]
    derived, numbers_job = differences(records), ("summary/numbers", "numbers", metrics)
    own = job(root, *numbers_job, {"numbers.json": b"{}"})
    numbers |= pointers.numbers(at("summary/numbers/derived.json"), derived, own)
    files = {"numbers.json": dumped(numbers), "derived.json": dumped(derived)}
    if not pointed:
        for key, entry in numbers.items():
            del entry["at"]
            if entry["source"].endswith("derived.json"):
                method = "b" if ".b" in key else "a"
                entry |= {"source": at(f"lds/{method}/lds.json"), "receipt": made[method]}
        files = {"numbers.json": dumped(numbers)}
    job(root, *numbers_job, files)
    of = {"numbers": [at("summary/numbers/numbers.json")], "claims": ["config/claims.yaml"]}
    job(root, "summary/tables", "tables", of, {"lds.md": TABLE.encode(), "lds.csv": b"a,0.71\nb,0.4\n"})
    job(root, "summary/figures", "figures", metrics, {"lds.png": b"\x89PNG of a and b", "lds.svg": b"<svg/>"})
    (root / "README.md").write_text(README.format(TABLE))
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run and published; not to be changed."""
    root = build(tmp_path_factory.mktemp("audited"))
    assert publish(root, "demo") == []
    return root


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A checkout in which the study was run and published."""
    return Path(shutil.copytree(built, tmp_path / "here"))


@pytest.fixture
def clone(here: Path) -> Path:
    """A plain clone: what git holds, no data and no results but those published."""
    shutil.rmtree(here / "data")
    shutil.rmtree(here / "results/demo")
    return here


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A plain clone of a study that was published before numbers had pointers."""
    root = build(tmp_path / "older", pointed=False)
    assert publish(root, "demo") == []
    path = root / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    for key in (key for key in numbers if key.startswith("cost.")):
        del numbers[key]["at"]
    path.write_bytes(dumped(numbers))
    sums.write(path.parent)
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "results/demo")
    return root


@pytest.fixture
def local(here: Path) -> Path:
    """A checkout in which the study was run and never published."""
    shutil.rmtree(here / "results/published")
    (here / "README.md").unlink()
    return here


@pytest.fixture
def make_job() -> Callable[..., str]:
    return job
