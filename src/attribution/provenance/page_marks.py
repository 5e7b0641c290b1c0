"""What README and the pages of docs/ say of published numbers, read with the standard library alone.

Between marks stand numbers, `<!-- n:lds.ekfac.heldout -->0.71<!-- /n -->`, and tables, `<!-- table:lds -->`; a number
must be the published one, rounded as it is written, a table, labels and all, the file that was published, or what the
caller makes of the published numbers. A comment that looks like a mark and is none, or names no published study, is a
fault: what it was to guard is not guarded. (The command `readme` renews both; this only reads, and shares no code with
it.)
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance.ledger import PUBLISHED, published_studies

DEFAULT = "digits"  # the study that pages name without a prefix
Problem = tuple[str, str, tuple[str, ...]]  # where, what, numbers
Made = Callable[[Path, str, dict[str, dict[str, Any]]], str | None]  # of root, name and numbers: a table, if it is one
_NUMBER = re.compile(r"<!-- n:([\w./]+) -->((?:(?!<!--).)*)<!-- /n -->", re.DOTALL)
_TABLE = re.compile(r"<!-- table:([\w./]+) -->\n((?:(?!<!--).)*)<!-- /table -->", re.DOTALL)
_LIKE_A_MARK = re.compile(r"<!--\s*(?:/|\S*\s*:).*?-->", re.DOTALL)
_WRITTEN = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_UNITS = (("%", 100.0), (r"\d\s*min", 1 / 60), (r"\d\s*h", 1 / 3600))


def check(root: Path, study: str, numbers: dict[str, dict[str, Any]], made: Made) -> list[Problem]:
    """(where, what, numbers) for each marked number or table of a study in a page that is not as published, and for
    each mark that is none or names no published study.
    """
    known = set(published_studies(root))
    return [problem for path in pages(root) for problem in _check(path, root, study, known, numbers, made)]


def pages(root: Path) -> list[Path]:
    """Where marks may stand: README and docs/."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def _check(
    path: Path, root: Path, study: str, known: set[str], numbers: dict[str, dict[str, Any]], made: Made
) -> Iterator[Problem]:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    marked = {match.span(): match for pattern in (_NUMBER, _TABLE) for match in pattern.finditer(text)}
    for match in _LIKE_A_MARK.finditer(text):
        if not any(start <= match.start() < end for start, end in marked):
            yield _line(name, text, match), f"{match[0]!r} is no mark, or its other end is missing", ()
    for _, match in sorted(marked.items()):
        where, (place, _, key) = _line(name, text, match), match[1].rpartition("/")
        if (place or DEFAULT) not in known:
            yield where, f"{match[1]} is of no study that is published", ()
        elif (place or DEFAULT) != study:
            continue
        elif match.re is _TABLE:
            if what := _table(root, study, key, match[2], numbers, made):
                yield where, what, ()
        elif key not in numbers:
            yield where, f"{key} is not among the published numbers", ()
        elif not _agrees(match[2], numbers[key]):
            yield where, f"says {match[2]!r}, published is {_full(numbers[key])}", (key,)


def _line(name: str, text: str, match: re.Match[str]) -> str:
    return f"{name}:{text.count(chr(10), 0, match.start()) + 1}"


def _table(root: Path, study: str, key: str, text: str, numbers: dict[str, dict[str, Any]], made: Made) -> str | None:
    """What is wrong with a table of a page."""
    folder = root / PUBLISHED / study
    files = [path for path in (folder / "tables" / f"{key}.md", folder / key / f"{key}.md") if path.is_file()]
    try:
        fresh = made(root, key, numbers)  # newer than the copy that a study took with it
    except (StudyError, LookupError, TypeError, ValueError):
        return f"its table {key} cannot be made of what is published"
    if fresh is None and not files:
        return f"no table {key} of {study} is published"
    origin = "what is published" if fresh is not None else files[0].relative_to(root).as_posix()
    right = _rows(fresh if fresh is not None else files[0].read_text(encoding="utf-8"))
    for row, other in zip(_rows(text), right, strict=False):
        if row != other:
            one, of = next(((a, b) for a, b in zip(row, other, strict=False) if a != b), (row, other))
            return f"its table {key} says {one!r} in the row {row[0]!r}, {origin} {of!r}"
    return None if len(_rows(text)) == len(right) else f"its table {key} has more or fewer rows than {origin}"


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]


def _agrees(text: str, entry: dict[str, Any]) -> bool:
    """Whether one number, or one with its interval, is the published one as rounded there."""
    scale = next((factor for pattern, factor in _UNITS if re.search(pattern, text)), 1.0)
    scale = scale if scale == 100.0 or entry["unit"] == "s" else 1.0
    written = _WRITTEN.findall(text)
    interval = entry.get("interval")
    values = [entry["value"], *(interval if isinstance(interval, list) else [])][: len(written)]
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
    return f"{entry['value']:g}" + (f" {entry['interval']}" if entry.get("interval") else "")
