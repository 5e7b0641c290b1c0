"""A file is hashed once, and again whenever it may hold other bytes."""

import os
from pathlib import Path

import pytest

from attribution.provenance import hashes, receipt


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read; none counts as just changed."""
    found: list[Path] = []
    sha256 = receipt.sha256
    monkeypatch.setattr(receipt, "sha256", lambda path: found.append(path) or sha256(path))
    monkeypatch.setattr(hashes, "TICK", -1.0)
    return found


def test_what_did_not_change_is_read_once(tmp_path: Path, read: list[Path]) -> None:
    file, kept = tmp_path / "file", tmp_path / "kept/study"
    file.write_text("a")
    for _ in range(3):
        digest = hashes.Hashes(kept)
        assert digest(file) == digest(file) == receipt.hashlib.sha256(b"a").hexdigest()
        assert digest(tmp_path / "absent") is digest(tmp_path) is digest(file / "inner") is None
        digest.keep()
    assert read.count(file) == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_other_bytes_of_the_same_size_and_time_are_read(replaced: bool, tmp_path: Path, read: list[Path]) -> None:
    """By size and time of writing alone the old hash would be given."""
    file, kept = tmp_path / "file", tmp_path / "kept"
    file.write_text("a")
    before, first = file.stat(), hashes.Hashes(kept)
    digest = first(file)
    first.keep()
    target = tmp_path / "new" if replaced else file
    target.write_text("b")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(file)
    assert hashes.Hashes(kept)(file) != digest


def test_what_has_just_changed_is_not_remembered(tmp_path: Path, read: list[Path], monkeypatch) -> None:
    monkeypatch.setattr(hashes, "TICK", 60.0)
    (tmp_path / "file").write_text("a")
    digest = hashes.Hashes(tmp_path / "kept")
    digest(tmp_path / "file")
    digest(tmp_path / "file")
    assert len(read) == 2


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"FILE": 1}', '{"FILE": []}'])
def test_damaged_findings_are_ignored(damage: str, tmp_path: Path, read: list[Path]) -> None:
    file, kept = tmp_path / "file", tmp_path / "kept"
    file.write_text("a")
    kept.write_text(damage.replace("FILE", str(file)))
    assert hashes.Hashes(kept)(file) == receipt.hashlib.sha256(b"a").hexdigest()
