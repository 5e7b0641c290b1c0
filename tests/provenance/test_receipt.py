"""Receipts: an id of what determines a result and nothing else; damaged inputs are refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import StudyError
from attribution.provenance import receipt

A, B = "a" * 64, "b" * 64
BASE: dict[str, Any] = {
    "step": "train",
    "spec": {"seed": 0, "training": {"steps": 10, "batch": 3}},
    "code": "c0",
    "lock": "l0",
    "inputs": [{"name": "data", "sha256": A, "path": "results/x/data.safetensors", "receipt": None}],
}


def identity(**changes: Any) -> str:
    return receipt.identity(**BASE | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "score"},
        {"spec": {"seed": 1, "training": {"steps": 10, "batch": 3}}},
        {"spec": {"seed": 0, "training": {"steps": 3, "batch": 10}}},  # swapped
        {"code": "c1"},
        {"lock": "l1"},
        {"code": "l0", "lock": "c0"},
        {"inputs": []},
        {"inputs": [{"name": "data", "sha256": B}]},
        {"inputs": [{"name": "model", "sha256": A}]},
        {"inputs": [{"name": "data", "sha256": A}, {"name": "data", "sha256": A}]},
    ],
)
def test_id_depends_on_what_determines_the_result(changes: dict[str, Any]) -> None:
    assert identity(**changes) != identity()


def test_id_does_not_depend_on_paths_or_order_of_keys() -> None:
    moved = [{"name": "data", "sha256": A, "path": "elsewhere/data.safetensors", "receipt": "r"}]
    spec = {"training": {"batch": 3, "steps": 10}, "seed": 0}
    assert identity(inputs=moved, spec=spec) == identity()
    two = [{"name": "data", "sha256": A}, {"name": "model", "sha256": B}]
    assert identity(inputs=two) == identity(inputs=two[::-1])


def test_id_depends_on_the_order_of_files_under_one_name() -> None:
    """A step may stack them."""
    two = [{"name": "scores", "sha256": A}, {"name": "scores", "sha256": B}]
    assert identity(inputs=two) != identity(inputs=two[::-1])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with one output and the receipt of the job that wrote it."""
    path = tmp_path / "results" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 64)
    output = receipt.output_record(path, "bitwise", tmp_path)
    receipt.write(path.parent, {"format": 1, "id": "made", "outputs": [output]})
    return path


def test_output_and_input_records(made: Path, tmp_path: Path) -> None:
    assert receipt.output_record(made, "bitwise", tmp_path) == {
        "path": "results/model.safetensors",
        "sha256": receipt.sha256(made),
        "class": "bitwise",
        "bytes": 16384,
    }
    assert receipt.input_record("model", made, tmp_path) == {
        "name": "model",
        "path": "results/model.safetensors",
        "sha256": receipt.sha256(made),
        "receipt": "made",
    }


def test_sha256_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert receipt.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1


def test_raw_input_has_no_receipt(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("1,2\n")
    assert receipt.input_record("raw", path, tmp_path)["receipt"] is None


@pytest.mark.parametrize("damage", ["truncated", "edited", "emptied"])
def test_damaged_input_is_refused(made: Path, tmp_path: Path, damage: str) -> None:
    data = made.read_bytes()
    made.write_bytes({"truncated": data[:-1], "edited": b"\x01" + data[1:], "emptied": b""}[damage])
    with pytest.raises(
        StudyError, match=r"model\.safetensors: does not match its receipt .* delete its folder and rerun"
    ):
        receipt.input_record("model", made, tmp_path)


def test_missing_and_undeclared_inputs_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"other: missing \(input model\)"):
        receipt.input_record("model", made.parent / "other", tmp_path)
    (made.parent / "other").write_text("x")
    with pytest.raises(StudyError, match="other: not among the outputs in its receipt"):
        receipt.input_record("model", made.parent / "other", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}', '{"format": 1}', '{"format": 2}'])
def test_damaged_receipt_is_one_line(made: Path, text: str) -> None:
    (made.parent / receipt.NAME).write_text(text)
    with pytest.raises(StudyError, match=r"receipt\.json: (unreadable or damaged|format 2)"):
        receipt.read(made.parent)


def test_missing_receipt_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"receipt\.json: missing; its job did not finish"):
        receipt.read(tmp_path)


def test_writing_is_whole_or_not_at_all(made: Path) -> None:
    before = (made.parent / receipt.NAME).read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        receipt.write(made.parent, {"value": float("nan")})
    assert (made.parent / receipt.NAME).read_bytes() == before
    assert sorted(path.name for path in made.parent.iterdir()) == ["model.safetensors", "receipt.json"]
    receipt.write(made.parent, {"a": 1})
    assert json.loads((made.parent / receipt.NAME).read_text()) == {"a": 1, "seal": receipt.seal({"a": 1})}


def test_a_seal_holds_all_that_is_said(made: Path) -> None:
    """The outputs, times and hosts too, which the id leaves out; written anew, it is that of what was written."""
    said = {"a": 1, "outputs": [{"sha256": A}], "run": {"seconds": 1.5}}
    assert receipt.seal(said) == receipt.seal({**said, "seal": "any"})
    for other in ({"a": 2}, {"a": 1.0}, {"outputs": [{"sha256": B}]}, {"run": {"seconds": 1.6}}, {"b": 1}):
        assert receipt.seal(said | other) != receipt.seal(said)
    receipt.write(made.parent, {**said, "outputs": ({"sha256": A},), "seal": "old"})  # a tuple is read as a list
    read = json.loads((made.parent / receipt.NAME).read_text())
    assert read["seal"] == receipt.seal(read) == receipt.seal(said)


def test_what_publishing_writes_is_no_change_of_the_code(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=n@localhost"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    pages, code = ("README.md", "docs/results.md", "results/published/s/numbers.json"), ("src/a.py", "config/s.yaml")
    for name in (*pages, *code):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    assert receipt.commit(tmp_path) == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    for name in pages:
        (tmp_path / name).write_text("2\n")
    assert not receipt.commit(tmp_path)["dirty"]
    for name in (*code, "src/new.py"):
        git("checkout", "-q", ".")
        (tmp_path / name).write_text("2\n")
        assert receipt.commit(tmp_path)["dirty"], name


def test_folder_outside_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert receipt.commit(tmp_path) == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", "")
    assert receipt.commit(tmp_path) == {"commit": None, "dirty": None}
