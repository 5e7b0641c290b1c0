"""What was found in source files is recalled for the same bytes alone, and not where its record is damaged."""

from pathlib import Path

import pytest

from attribution.workflow import syntax


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own."""
    restart(monkeypatch)


def restart(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, empty in (("_by_path", {}), ("_by_bytes", {}), ("_used", set())):
        monkeypatch.setattr(syntax, name, empty)


def test_what_was_found_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, kept = tmp_path / "module.py", tmp_path / "syntax"
    file.write_text("from attribution.core import rng\nX = 1\n")
    assert syntax.recall(kept) == set()
    found = syntax.parse(str(file))
    assert found.imports == (("attribution.core", "rng", 1),)
    syntax.keep(kept, set())

    restart(monkeypatch)
    assert len(syntax.recall(kept)) == 1
    monkeypatch.setattr(syntax.ast, "parse", lambda *_: pytest.fail("parsed again"))
    assert syntax.parse(str(file)) == found


def test_an_edited_file_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same length, and with the old time."""
    file, kept = tmp_path / "module.py", tmp_path / "syntax"
    file.write_text("X = 1\n")
    before, first = file.stat(), syntax.parse(str(file))
    syntax.keep(kept, set())
    restart(monkeypatch)
    recalled = syntax.recall(kept)
    file.write_text("X = 2\n")
    syntax.os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert syntax.parse(str(file)) != first
    syntax.keep(kept, recalled)
    assert len(syntax.recall(kept)) == 1  # what no file holds any more is not kept


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"by": 1, "files": {}}', "half"])
def test_damaged_or_foreign_findings_are_ignored(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, kept = tmp_path / "module.py", tmp_path / "syntax"
    file.write_text("X = 1\n")
    found = syntax.parse(str(file))
    syntax.keep(kept, set())
    kept.write_text(kept.read_text()[:90] if damage == "half" else damage)
    restart(monkeypatch)
    assert syntax.recall(kept) == set()
    assert syntax.parse(str(file)) == found


def test_another_version_of_the_parser_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, kept = tmp_path / "module.py", tmp_path / "syntax"
    file.write_text("X = 1\n")
    syntax.parse(str(file))
    syntax.keep(kept, set())
    monkeypatch.setattr(syntax, "_by", lambda: "3.12.0 other")
    assert syntax.recall(kept) == set()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("X = 1\n")
    syntax.parse(str(file))
    syntax.keep(tmp_path / "absent/syntax", set())
