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
"""

import re
from collections.abc import Mapping
from functools import partial

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
_TABLE = re.compile(r"<!-- table:(?P<name>\S+) -->\n(?P<body>.*?)<!-- /table -->", re.DOTALL)
_NUMBER = re.compile(r"<!-- n:(?P<name>\S+) -->(?P<body>.*?)<!-- /n -->", re.DOTALL)
_MINUS = "\N{MINUS SIGN}"
_DIGITS = re.compile(rf"(?<![\w.])[-{_MINUS}]?\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[-+]?\d+)?")
_MARK = re.compile(r"<!-- (?:/?table\b|/?n\b).*?-->")


def prefixed(study: str, numbers: Mapping[str, Number]) -> Numbers:
    """The numbers of a study under ids `study/id`, to be merged with those of others."""
    return {f"{study}/{key}": entry for key, entry in numbers.items()}


def update(text: str, numbers: Mapping[str, Number], tables: Mapping[str, str] = NONE) -> str:
    """The text with every table and number between marks as numbers and tables have it; the rest is left as it is.

    Raises StudyError for a mark without its end, a table or an id that does not exist, or a marked text that is not
    one number, or one number with its interval.
    """
    _paired(text)
    text = _TABLE.sub(lambda match: _table(match, numbers, tables), text)
    return _NUMBER.sub(lambda match: _number(match, numbers), text)


def stale(text: str, numbers: Mapping[str, Number], tables: Mapping[str, str] = NONE) -> list[str]:
    """One line for each table or number in the text that is not what numbers and tables have; empty where all agree."""
    problems = []
    try:
        _paired(text)
    except StudyError as error:
        problems.append(str(error))
    for pattern, render in ((_TABLE, partial(_table, tables=tables)), (_NUMBER, _number)):
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            try:
                fresh = render(match, numbers)
            except StudyError as error:
                problems.append(f"line {line}: {error}")
                continue
            if fresh != match.group(0):
                kind = "table" if pattern is _TABLE else "number"
                shown = "" if kind == "table" else f": {match['body']!r} should be {_inside(fresh)!r}"
                problems.append(f"line {line}: {kind} {match['name']} is stale{shown}")
    return problems


def _table(match: re.Match[str], numbers: Mapping[str, Number], tables: Mapping[str, str]) -> str:
    study, _, kind = match["name"].rpartition("/")
    if kind in TABLES:
        start = f"{study}/" if study else ""
        own = {key[len(start) :]: entry for key, entry in numbers.items() if key.startswith(start)}
        body = TABLES[kind]({key: entry for key, entry in own.items() if "/" not in key})
    elif match["name"] in tables:
        body = tables[match["name"]]
    else:
        raise StudyError(f"table {match['name']} does not exist: tables are {', '.join([*TABLES, *sorted(tables)])}")
    return f"<!-- table:{match['name']} -->\n{body}\n<!-- /table -->"


def _number(match: re.Match[str], numbers: Mapping[str, Number]) -> str:
    entry = numbers.get(match["name"])
    if entry is None:
        raise StudyError(f"number {match['name']} is not among the reported numbers")
    found = len(_DIGITS.findall(match["body"]))
    values = [entry["value"]] if found == 1 else [entry["value"], *(entry["interval"] or [])]
    if found not in (1, 3) or len(values) != found or None in values:
        raise StudyError(f"number {match['name']}: {match['body']!r} must be one number, or one with its interval")
    scale = _scale(match["body"], entry["unit"])
    remaining = iter(values)
    body = _DIGITS.sub(lambda digits: _like(digits.group(0), scale * next(remaining)), match["body"])
    return f"<!-- n:{match['name']} -->{body}<!-- /n -->"


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


def _paired(text: str) -> None:
    """StudyError where a mark opens twice, never closes, or closes what is not open."""
    open_mark = None
    for match in _MARK.finditer(text):
        mark = match.group(0)[5:-4]
        closing = mark.startswith("/")
        if closing and (open_mark is None or mark[1:].split(":")[0] != open_mark.split(":")[0]):
            raise StudyError(f"mark {mark} closes what is not open")
        if not closing and open_mark is not None:
            raise StudyError(f"mark {open_mark} is not closed")
        open_mark = None if closing else mark
    if open_mark is not None:
        raise StudyError(f"mark {open_mark} is not closed")


def _inside(block: str) -> str:
    return block.split("-->", 1)[1].rsplit("<!--", 1)[0]
