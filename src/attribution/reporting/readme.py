"""Numbers in a README that cannot drift: every one stands between marks and is checked against the reported numbers.

A table:   <!-- table:lds -->
           ...
           <!-- /table -->
A number:  <!-- n:lds.ekfac.heldout -->0.74<!-- /n -->  or  0.74 [0.70, 0.78]  or  74 %  between the same marks

`table:digits_unet/lds` and `n:digits_unet/lds.ekfac.heldout` take the numbers of another study, which the caller adds
under ids with that prefix (`prefixed`). The tables of TABLES are made of the numbers; others (`table:claims`,
`table:digits_unet/claims`, `table:peers`) come ready from the caller, by these names. A number keeps the decimals that
it was written with; "%" means a hundred times the value, "min" and "h" turn seconds into minutes and hours; two numbers
in brackets are the interval. `update` rewrites, `stale` says what update would change.

Marks fail closed. A page has no comments but these, so that a misspelt one cannot hide a number. A number's marks stand
within a line: first on one, CommonMark takes them for a block of HTML and ends the paragraph there. A table's marks
stand alone on theirs.
"""

import re
from collections.abc import Mapping

from attribution.errors import StudyError
from attribution.reporting.counterfactual_table import joint_markdown, leave_k_out_markdown
from attribution.reporting.numbers import Number, Numbers
from attribution.reporting.tables import lds_markdown, methods_markdown

TABLES = {
    "lds": lds_markdown,
    "methods": methods_markdown,
    "leave_k_out": leave_k_out_markdown,
    "joint": joint_markdown,
}
NONE: Mapping[str, str] = {}
_MARKED = re.compile(r"<!-- (?P<kind>n|table):(?P<name>\S+) -->(?P<body>.*?)<!-- /(?P=kind) -->", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->|<!-|--!?>", re.DOTALL)
_MARK = re.compile(r"<!-- (?:(?P<kind>n|table):\S+|/(?P<ends>n|table)) -->")
_LINE_START = re.compile(r"[ \t]*(?:(?:[-+*>]|\d+[.)])[ \t]+)*")  # bullets, quotes: a block may begin after them
_MINUS = "\N{MINUS SIGN}"
_DIGITS = re.compile(rf"(?<![\w.])[-{_MINUS}]?\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[-+]?\d+)?")


def prefixed(study: str, numbers: Mapping[str, Number]) -> Numbers:
    """The numbers of a study under ids `study/id`, to be merged with those of others."""
    return {f"{study}/{key}": entry for key, entry in numbers.items()}


def update(text: str, numbers: Mapping[str, Number], tables: Mapping[str, str] = NONE) -> str:
    """The text with every table and number between marks as numbers and tables have it; the rest is left as it is.

    Raises StudyError, with the line, for a mark that is none, has no end or stands where it does not render, a table or
    an id that does not exist, or a marked text that is not one number, or one number with its interval.
    """
    fresh, wrong, _ = _renewed(text, numbers, tables)
    if wrong:
        raise StudyError(wrong[0])
    return fresh


def stale(text: str, numbers: Mapping[str, Number], tables: Mapping[str, str] = NONE) -> list[str]:
    """One line for each mark that is wrong, and each table or number that is not what numbers and tables have."""
    _, wrong, old = _renewed(text, numbers, tables)
    return wrong + old


def _renewed(text: str, numbers: Mapping[str, Number], tables: Mapping[str, str]) -> tuple[str, list[str], list[str]]:
    """The text as it should be, what is wrong in it, and what is stale: a line each."""
    wrong, old = _misplaced(text), []

    def renew(match: re.Match[str]) -> str:
        kind, name, body = match.groups()
        try:
            fresh = _number(name, body, numbers) if kind == "n" else _table(name, numbers, tables)
        except StudyError as error:
            wrong.append(f"line {_line(text, match)}: {error}")
            return match[0]
        if fresh != body:
            what = f"number {name} is stale: {body!r} should be {fresh!r}" if kind == "n" else f"table {name} is stale"
            old.append(f"line {_line(text, match)}: {what}")
        return f"<!-- {kind}:{name} -->{fresh}<!-- /{kind} -->"

    return (text if wrong else _MARKED.sub(renew, text)), wrong, old


def _misplaced(text: str) -> list[str]:
    """Comments that are no marks, marks that open twice, never close or close nothing, or stand where none renders."""
    wrong, opened, unclosed = [], None, ""
    for match in _COMMENT.finditer(text):
        line, mark = f"line {_line(text, match)}", _MARK.fullmatch(match[0])
        if mark is None:
            wrong.append(f"{line}: {match[0]!r} is no mark: n:ID, table:NAME and their ends /n, /table are")
            continue
        if mark["ends"] != (opened and opened["kind"]):
            wrong.append(unclosed if opened else f"{line}: {mark[0]} closes nothing")
        opened, unclosed = (None if mark["ends"] else mark), f"{line}: {mark[0]} is not closed"
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if "table" in (mark["kind"], mark["ends"]):
            if before or text[match.end() : match.end() + 1] not in ("", "\n"):
                wrong.append(f"{line}: {mark[0]} must stand alone on its line")
        elif _LINE_START.fullmatch(before):
            wrong.append(f"{line}: {mark[0]} stands first on its line and cuts the paragraph: put a word before it")
    return [*wrong, unclosed] if opened else wrong


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _table(name: str, numbers: Mapping[str, Number], tables: Mapping[str, str]) -> str:
    study, _, kind = name.rpartition("/")
    start = f"{study}/" if study else ""
    own = {key[len(start) :]: entry for key, entry in numbers.items() if key.startswith(start)}
    own = {key: entry for key, entry in own.items() if "/" not in key}
    if kind in TABLES and own:
        body = TABLES[kind](own)
    elif name in tables:
        body = tables[name]
    else:
        missing = "" if own else f", no study {study} has numbers"
        raise StudyError(f"table {name} does not exist{missing}: tables are {', '.join([*TABLES, *sorted(tables)])}")
    return f"\n{body}\n"


def _number(name: str, written: str, numbers: Mapping[str, Number]) -> str:
    entry = numbers.get(name)
    if entry is None:
        raise StudyError(f"number {name} is not among the reported numbers")
    found = len(_DIGITS.findall(written))
    values = [entry["value"]] if found == 1 else [entry["value"], *(entry["interval"] or [])]
    if found not in (1, 3) or len(values) != found or None in values:
        raise StudyError(f"number {name}: {written!r} must be one number, or one with its interval")
    scale = _scale(written, entry["unit"])
    remaining = iter(values)
    return _DIGITS.sub(lambda digits: _like(digits[0], scale * next(remaining)), written)


def _scale(body: str, unit: str) -> float:
    if "%" in body:
        return 100.0
    if unit == "s" and re.search(r"\d\s*(min|minutes?)\b", body):
        return 1 / 60
    if unit == "s" and re.search(r"\d\s*(h|hours?)\b", body):
        return 1 / 3600
    return 1.0


def _like(written: str, value: float) -> str:
    """`value` with the decimals, thousands separators, exponent and minus sign that `written` has."""
    if "e" in written:
        decimals = len(written.split("e")[0].partition(".")[2])
        return format(value, f".{decimals}e")
    grouped = "," if "," in written else ""
    text = format(value, f"{grouped}.{len(written.partition('.')[2])}f")
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", _MINUS) if _MINUS in written else text
