"""Files that are whole or absent: failures in the middle, truncation, a full disk, and what comes back."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from attribution.core.store import (
    append_jsonl,
    atomic,
    load_json,
    load_meta,
    load_tensors,
    save_json,
    save_tensors,
    save_text,
)
from attribution.errors import StudyError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with atomic(path) as part:
        assert part.parent == path.parent  # a rename between file systems is a copy
        part.write_text("new")
        raise error


def test_tensors_come_back(tmp_path):
    path = tmp_path / "new" / "folder" / "a.safetensors"
    written = {
        "weights": torch.arange(6, dtype=torch.float32).view(2, 3).requires_grad_(),
        "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,  # not contiguous
        "rows": np.array([3, 1], dtype=np.int64),
        "mask": np.array([True, False]),
        "dampings": [0.1, 1.0],
    }
    save_tensors(path, written, {"names": ["a", "b"], "step": 3})
    found, as_torch = load_tensors(path), load_tensors(path, "pt")
    assert found.keys() == as_torch.keys() == written.keys()
    for name, value in written.items():
        expected = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)
        np.testing.assert_array_equal(as_torch[name].numpy(), expected)
    assert load_meta(path) == {"names": ["a", "b"], "step": 3}
    assert names(path.parent) == ["a.safetensors"]


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    """What the identity of later jobs rests on: neither order nor time may show."""
    one, two = tmp_path / "one", tmp_path / "two"
    save_tensors(one, {"a": np.ones(3), "b": np.zeros(2)}, {"x": 1, "y": 2})
    save_tensors(two, {"b": np.zeros(2), "a": np.ones(3)}, {"y": 2, "x": 1})
    assert one.read_bytes() == two.read_bytes()


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    save_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"):
        write_half(path, RuntimeError("half way"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failure_before_there_was_a_file_leaves_none(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a.txt", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_readers_of_the_old_file_keep_it(tmp_path):
    """The file is replaced, not overwritten: a reader in another process, or a memory map, sees one version."""
    path = tmp_path / "a.txt"
    save_text(path, "old")
    with path.open() as reader:
        save_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_truncated_tensors_name_the_file(tmp_path, kept):
    path = tmp_path / "models.safetensors"
    save_tensors(path, {"a": np.ones(1000)})
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    for load in (load_tensors, load_meta):
        with pytest.raises(StudyError, match=r"models\.safetensors: truncated or damaged .* delete its folder"):
            load(path)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(StudyError, match="gone.safetensors"):
        load_tensors(tmp_path / "gone.safetensors")
    with pytest.raises(StudyError, match="gone.json"):
        load_json(tmp_path / "gone.json")


def test_no_pickle_is_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(StudyError, match="a.safetensors"):
        load_tensors(tmp_path / "a.safetensors")


def test_json(tmp_path):
    path = tmp_path / "a.json"
    save_json(path, {"b": 1, "a": [0.1, None]})
    assert path.read_text() == '{\n  "a": [\n    0.1,\n    null\n  ],\n  "b": 1\n}\n'
    assert load_json(path) == {"b": 1, "a": [0.1, None]}
    path.write_text('{"a": ')
    with pytest.raises(StudyError, match="a.json: unreadable or damaged"):
        load_json(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_holds_no_nan(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_json(tmp_path / "a.json", value)
    assert names(tmp_path) == []


def test_logs_grow_by_whole_lines(tmp_path):
    for step in (1, 2):
        append_jsonl(tmp_path / "log.jsonl", {"step": step, "loss": 0.5})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]


LIMITED = """
import resource, signal, sys
import numpy as np
from attribution.core import store
from attribution.errors import StudyError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk, and the process goes on
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    store.{call}
except StudyError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("a.safetensors", "save_tensors(sys.argv[1], {'a': np.ones(10_000)})"),
        ("a.json", "save_json(sys.argv[1], list(range(10_000)))"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, name, call):
    path = tmp_path / name
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.replace("{call}", call), str(path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stderr == ""
    assert f"{path}: cannot be written" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert path.read_text() == "old"
    assert names(tmp_path) == [name]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"file/a\.txt: cannot be written"):
        save_text(tmp_path / "file" / "a.txt", "new")
