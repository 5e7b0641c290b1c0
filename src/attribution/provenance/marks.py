"""What README and the pages of docs/ say of published numbers, read with the standard library alone.

Between marks stand numbers, `<!-- n:lds.ekfac.heldout -->0.71<!-- /n -->`, and tables, `<!-- table:lds -->`; a number
must be the published one, rounded as it is written, a table must have the cells of the file that was published. (The
command `readme` renews both; this only reads, and shares no code with it.)
"""

import re
from pathlib import Path
from typing import Any

from attribution.provenance.ledger import PUBLISHED

DEFAULT = "digits"  # the study that pages name without a prefix
_NUMBER = re.compile(r"<!-- n:(\S+) -->(.*?)<!-- /n -->", re.DOTALL)
_TABLE = re.compile(r"<!-- table:(\S+) -->\n(.*?)<!-- /table -->", re.DOTALL)
_WRITTEN = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_UNITS = (("%", 100.0), (r"\d\s*min", 1 / 60), (r"\d\s*h", 1 / 3600))


def check(root: Path, study: str, numbers: dict[str, dict[str, Any]]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(where, what, numbers) for each marked number or table of a study in a page that is not as published."""
    return [problem for path in pages(root) for problem in _check(path, root, study, numbers)]


def pages(root: Path) -> list[Path]:
    """Where marks may stand: README and docs/."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def _check(
    path: Path, root: Path, study: str, numbers: dict[str, dict[str, Any]]
) -> list[tuple[str, str, tuple[str, ...]]]:
    text, name, found = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix(), []
    for match in _NUMBER.finditer(text):
        key = _own(match[1], study)
        if key is None:
            continue
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        if key not in numbers:
            found.append((where, f"{key} is not among the published numbers", ()))
        elif not _agrees(match[2], numbers[key]):
            found.append((where, f"says {match[2]!r}, published is {_full(numbers[key])}", (key,)))
    for match in _TABLE.finditer(text):
        key = _own(match[1], study)
        file = root / PUBLISHED / study / "tables" / f"{key}.md"
        benchmark = root / PUBLISHED / "benchmarks" / f"{key}.csv"  # newer than the copy that a study took with it
        if key is None or not file.is_file() or benchmark.is_file():
            continue
        if _cells(match[2]) != _cells(file.read_text(encoding="utf-8")):
            where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
            found.append((where, f"its table {key} has other cells than {file.relative_to(root)}", ()))
    return found


def _own(name: str, study: str) -> str | None:
    """The id without its study, or None where it belongs to another."""
    place, _, key = name.rpartition("/")
    return key if (place or DEFAULT) == study else None


def _agrees(text: str, entry: dict[str, Any]) -> bool:
    """Whether one number, or one with its interval, is the published one as rounded there."""
    scale = next((factor for pattern, factor in _UNITS if re.search(pattern, text)), 1.0)
    scale = scale if scale == 100.0 or entry["unit"] == "s" else 1.0
    written = _WRITTEN.findall(text)
    values = [entry["value"], *(entry["interval"] or [])][: len(written)]
    if len(written) not in (1, 3) or len(values) != len(written) or None in values:
        return False
    return all(
        _rounds(word.replace(",", "").replace("−", "-"), scale * value)
        for word, value in zip(written, values, strict=True)
    )


def _rounds(word: str, value: float) -> bool:
    """Whether `value`, written with the decimals of `word`, is that word."""
    if "e" in word:
        return float(format(value, f".{len(word.split('e')[0].partition('.')[2])}e")) == float(word)
    return float(format(value, f".{len(word.partition('.')[2])}f")) == float(word)


def _full(entry: dict[str, Any]) -> str:
    return f"{entry['value']:g}" + (f" {entry['interval']}" if entry["interval"] else "")


def _cells(table: str) -> list[list[str]]:
    """The cells of each row but the first, its label."""
    rows = [line.strip("| \n").split(" | ") for line in table.strip().splitlines()]
    return [[cell.strip() for cell in row[1:]] for row in rows]
