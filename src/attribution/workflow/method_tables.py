"""What the methods declare, as tables: of their settings for config/README.md, of their scores for docs/methods.md.

`python -m attribution.workflow.config_readme` writes both; with `--check` it exits with 1 where one is stale.
"""

import re
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import registry
from attribution.workflow.config_schema import Schema, describe, resolve

DOCS = Path("docs", "methods.md")
HEAD = ["method", "score", "reads", "file", "source"]
TABLE = re.compile(r"^\| method \| score \|.*?\n(?=\n)", re.DOTALL | re.MULTILINE)


def settings(whole: Schema) -> str:
    """Markdown of the section `methods` of a config: a table of settings, and one of methods with their defaults."""
    known = registry.methods()
    parts: dict[str, Schema] = {}
    for found in known.values():
        for name, part in found.settings.items():
            parts.setdefault(name, resolve(part, whole))
    rows = [["setting", "range", "meaning"], ["---"] * 3]
    rows += [[f"`{name}`", _range(part), part["description"]] for name, part in parts.items()]
    lines = [["method", "meaning", "settings, where left out"], ["---"] * 3]
    for found in known.values():
        lines.append([f"`{found.name}`", found.about, ", ".join(_default(*item) for item in found.settings.items())])
    intro = "`<method>_<words>` is a variant: the same method with settings of its own.\n"
    return f"\n{intro}\n{_table(lines)}\n{_table(rows)}"


def documented(root: Path | str) -> str:
    """The text of docs/methods.md under `root` with its table of methods made anew. Raises StudyError without one."""
    path = Path(root, DOCS)
    text = path.read_text(encoding="utf-8")
    if not TABLE.search(text):
        raise StudyError(f"{path}: has no table that begins with: {_table([HEAD])}")
    rows = [HEAD, [":--"] * 5]
    for found in registry.methods().values():
        file = f"[{found.module}.py](../src/attribution/methods/{found.module}.py)"
        rows.append([f"`{found.name}`", _cell(found.score), found.reads, file, found.source])
    return TABLE.sub(lambda _: _table(rows), text)


def _default(name: str, part: dict[str, Any]) -> str:
    if "default" not in part:
        return f"`{name}` (needed)"
    value = part["default"]
    return f"`{name}: [{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{name}: {value}`"


def _range(part: Schema) -> str:
    return f"text like `{_cell(part['pattern'])}`" if "pattern" in part else _cell(describe(part))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
