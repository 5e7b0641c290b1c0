"""README marks: what is stale is found and named, what update writes is not stale, the rest is left alone."""

import json
from pathlib import Path

import pytest

from attribution.__main__ import main
from attribution.errors import StudyError
from attribution.reporting.numbers import number
from attribution.reporting.readme import TABLES, prefixed, stale, update
from attribution.reporting.tables import lds_markdown


def entry(value: float, interval: list | None = None, unit: str = "correlation") -> dict:
    return number(value, interval, {"queries": 5}, unit, "a.json", "r", "/a")


NUMBERS = {
    "lds.ekfac.heldout": entry(0.7449, [0.7, 0.7849]),
    "lds.random.heldout": entry(-0.02, [-0.1, 0.06]),
    "cost.train.seconds": entry(12345.0, None, "s"),
    "damping.ekfac.heldout": entry(1e-8, None, "damping"),
}


def marked(name: str, body: str) -> str:
    return f"before 0.99 <!-- n:{name} -->{body}<!-- /n --> after 0.99"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("lds.ekfac.heldout", "0.74"),
        ("lds.ekfac.heldout", "0.745"),
        ("lds.ekfac.heldout", "**0.7**"),
        ("lds.ekfac.heldout", "74 %"),
        ("lds.ekfac.heldout", "0.74 [0.70, 0.78]"),
        ("lds.ekfac.heldout", "74 % (70 to 78)"),
        ("lds.random.heldout", "-0.02"),
        ("lds.random.heldout", "\N{MINUS SIGN}0.02"),
        ("lds.random.heldout", "0.0"),
        ("cost.train.seconds", "12345"),
        ("cost.train.seconds", "12,345 s"),
        ("cost.train.seconds", "206 minutes"),
        ("cost.train.seconds", "3.4 h"),
        ("damping.ekfac.heldout", "1e-08"),
    ],
)
def test_right_numbers_in_any_style_are_not_stale(name: str, body: str) -> None:
    text = marked(name, body)
    assert stale(text, NUMBERS) == []
    assert update(text, NUMBERS) == text


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("lds.ekfac.heldout", "0.75", "0.74"),
        ("lds.ekfac.heldout", "75 %", "74 %"),
        ("lds.ekfac.heldout", "0.74 [0.70, 0.79]", "0.74 [0.70, 0.78]"),
        ("lds.random.heldout", "0.02", "-0.02"),
        ("cost.train.seconds", "1,000 s", "12,345 s"),
        ("cost.train.seconds", "3 min", "206 min"),
    ],
)
def test_wrong_numbers_are_named_and_rewritten(name: str, old: str, new: str) -> None:
    text = "first line\n" + marked(name, old)
    assert stale(text, NUMBERS) == [f"line 2: number {name} is stale: {old!r} should be {new!r}"]
    assert update(text, NUMBERS) == "first line\n" + marked(name, new)


@pytest.mark.parametrize("body", ["", "none", "0.74 0.70", "0.74 [0.70, 0.78, 0.80]"])
def test_what_is_no_number_is_refused(body: str) -> None:
    text = marked("lds.ekfac.heldout", body)
    assert len(stale(text, NUMBERS)) == 1
    with pytest.raises(StudyError, match="one number"):
        update(text, NUMBERS)


def test_an_interval_that_does_not_exist_is_refused() -> None:
    assert "one with its interval" in stale(marked("cost.train.seconds", "12345 [1, 2]"), NUMBERS)[0]


def test_unknown_ids_and_tables_are_stale() -> None:
    text = marked("lds.kfac.heldout", "0.5") + "\n<!-- table:costs -->\n<!-- /table -->\n"
    assert stale(text, NUMBERS) == [
        "line 1: number lds.kfac.heldout is not among the reported numbers",
        f"line 2: table costs does not exist: tables are {', '.join(TABLES)}",
    ]
    with pytest.raises(StudyError, match="line 1: number lds.kfac.heldout is not among"):
        update(text, NUMBERS)


@pytest.mark.parametrize(
    "text",
    [
        "about <!-- n:lds.ekfac.heldout -->0.74",
        "about <!-- /n -->",
        "<!-- table:lds -->\n",
        "a <!-- n:lds.ekfac.heldout -->0.74 <!-- n:lds.ekfac.heldout -->0.74<!-- /n -->",
        "<!-- table:lds -->\na <!-- /n -->",
    ],
)
def test_broken_marks_are_found(text: str) -> None:
    # a pattern alone would skip the mark in silence, or swallow text up to the next end
    assert any("clos" in line for line in stale(text, NUMBERS))
    with pytest.raises(StudyError, match="clos"):
        update(text, NUMBERS)


@pytest.mark.parametrize(
    "mark",
    [
        "<!-- n:lds.ekfac.heldout-->",
        "<!--n:lds.ekfac.heldout -->",
        "<!-- n: lds.ekfac.heldout -->",
        "<!-- N:lds.ekfac.heldout -->",
        "<!-- number:lds.ekfac.heldout -->",
        "<!-- /n-->",
        "<!-- end -->",
        "<!- n:lds.ekfac.heldout -->",
        "<!-- n:lds.ekfac.heldout --",
        "<!-- tabel:lds -->",
    ],
)
def test_what_resembles_a_mark_is_refused_with_its_line(mark: str) -> None:
    # read as a comment like another, it would leave its number to nobody
    text = f"first\nsecond {mark}0.99"
    assert stale(text, NUMBERS)[0].startswith("line 2: ")
    assert "is no mark" in stale(text, NUMBERS)[0]
    with pytest.raises(StudyError, match="line 2: .* is no mark"):
        update(text, NUMBERS)


@pytest.mark.parametrize("before", ["", "  ", "- ", "1. ", "> ", "word\n", "word\n  ", "# Title\n"])
def test_a_number_first_on_its_line_is_refused(before: str) -> None:
    # CommonMark would begin a block of HTML there, and the paragraph would fall into two
    text = f"{before}<!-- n:lds.ekfac.heldout -->0.74<!-- /n --> and more"
    line = text.count("\n") + 1
    problem = f"line {line}: <!-- n:lds.ekfac.heldout --> stands first on its line and cuts the paragraph"
    assert stale(text, NUMBERS) == [f"{problem}: put a word before it"]
    with pytest.raises(StudyError, match="stands first"):
        update(text, NUMBERS)
    assert stale(f"{before}a {text.removeprefix(before)}", NUMBERS) == []
    assert "stands first" in stale("a <!-- n:lds.ekfac.heldout -->0.74\n<!-- /n -->", NUMBERS)[0]


def test_a_table_within_a_line_is_refused() -> None:
    # the pattern of tables would pass it over, and its numbers would be held against nothing
    table = lds_markdown(NUMBERS)
    for text in (f"<!-- table:lds -->{table}\n<!-- /table -->", f"a <!-- table:lds -->\n{table}\n<!-- /table -->"):
        assert stale(text, NUMBERS) == ["line 1: <!-- table:lds --> must stand alone on its line"]
    ended = f"<!-- table:lds -->\n{table}<!-- /table --> and more\n"
    assert "<!-- /table --> must stand alone" in stale(ended, NUMBERS)[0]


def test_a_table_of_an_unknown_study_is_refused() -> None:
    # made of no numbers it would be a table without rows
    text = "<!-- table:digits_unit/lds -->\n| 0.99 |\n<!-- /table -->"
    assert stale(text, NUMBERS) == [
        "line 1: table digits_unit/lds does not exist, no study digits_unit has numbers: tables are "
        + ", ".join(TABLES)
    ]


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_the_command_names_file_and_line_and_writes_nothing(
    check: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "results/published/digits"
    (tmp_path / "docs").mkdir()
    place.mkdir(parents=True)
    (place / "numbers.json").write_text(json.dumps(NUMBERS))
    pages = {"README.md": marked("lds.ekfac.heldout", "0.5"), "docs/a.md": "a\n<!-- n:lds.ekfac-->0.5<!-- /n -->\n"}
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["readme", *check]) == 1
    assert "docs/a.md: line 2: '<!-- n:lds.ekfac-->' is no mark" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_text() for name in pages} == pages
    (tmp_path / "docs/a.md").write_text("a\n")
    assert main(["readme", *check]) == len(check)
    assert (">0.7<" in (tmp_path / "README.md").read_text()) == (not check)


def test_tables_are_rewritten_in_place() -> None:
    text = "# Title\n<!-- table:lds -->\nold 0.1\n<!-- /table -->\nend\n"
    assert stale(text, NUMBERS) == ["line 2: table lds is stale"]
    fresh = update(text, NUMBERS)
    assert fresh == f"# Title\n<!-- table:lds -->\n{lds_markdown(NUMBERS)}\n<!-- /table -->\nend\n"
    assert stale(fresh, NUMBERS) == []
    empty = "<!-- table:lds -->\n<!-- /table -->"
    assert stale(update(empty, NUMBERS), NUMBERS) == []


def test_another_study_by_prefix() -> None:
    other = {"lds.ekfac.heldout": entry(0.6, [0.5, 0.7])}
    together = NUMBERS | prefixed("digits_unet", other)
    text = (
        "a <!-- n:digits_unet/lds.ekfac.heldout -->0.74<!-- /n -->\n"
        "<!-- table:digits_unet/lds -->\n<!-- /table -->\n<!-- table:lds -->\n<!-- /table -->"
    )
    fresh = update(text, together)
    assert "-->0.60<" in fresh
    assert lds_markdown(other) in fresh
    assert lds_markdown(NUMBERS) in fresh  # the prefixed numbers stay out of the plain table
    assert stale(fresh, together) == []
    assert len(stale(fresh, NUMBERS)) == 2
