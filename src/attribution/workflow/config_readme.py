"""config/README.md, generated from the schema: one table a section, with the values of config/digits.yaml beside it.

`python -m attribution.workflow.config_readme` writes it; with `--check` it exits with 1 where the file is stale.
"""

import re
import sys
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import method_tables
from attribution.workflow.config import read_yaml, schema_in
from attribution.workflow.config_schema import Schema, describe, kinds, resolve

SCHEMA = Path("workflow", "schemas", "study.schema.yaml")
EXAMPLE = Path("config", "digits.yaml")
README = Path("config", "README.md")

HEAD = """# Configs

<!-- Generated from workflow/schemas/study.schema.yaml by `python -m attribution.workflow.config_readme`. -->

One file here is one study; `python -m attribution new study NAME` writes one ([how](../docs/add-a-study.md)). A key
that is left out has its default, stays absent where it is marked optional, and is required otherwise; a key that is not
listed here is refused. The last column is the value in `digits.yaml`.
"""


def render(root: Path | str) -> str:
    """The text of config/README.md for the schema and the digits study under `root`."""
    schema = schema_in(Path(root, SCHEMA))
    example = read_yaml(Path(root, EXAMPLE)) if Path(root, EXAMPLE).is_file() else {}
    plain = {name: part for name, part in schema["properties"].items() if _is_value(part)}
    parts = [HEAD, _table([_row("", name, part, schema, example) for name, part in plain.items()])]
    for name, section in schema["properties"].items():
        if name in plain:
            continue
        optional = " (optional)" if _optional(name, section, schema) else ""
        parts.append(f"\n## {name}{optional}\n\n{_sentence(section['description'])}\n")
        value = example.get(name, {})
        if name == "methods":
            parts.append(method_tables.settings(schema))
        elif "oneOf" in section:
            for kind, option in zip(kinds(section), section["oneOf"], strict=True):
                parts.append(f"\nWith `kind: {kind}`:\n")
                parts.append(_table(_rows("", option, schema, value if value.get("kind") == kind else {})))
        else:
            parts.append(_table(_rows("", section, schema, value)))
    return "".join(parts)


def main(arguments: list[str], root: Path | str = ".") -> int:
    """Write config/README.md and the table of docs/methods.md, or compare them (`--check`); the exit status."""
    try:
        made = {README: render(root), method_tables.DOCS: method_tables.documented(root)}
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    status = 0
    for name, text in made.items():
        path = Path(root, name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{name}: stale; write it again with `python -m attribution.workflow.config_readme`", file=sys.stderr)
            status = 1
    return status


def _rows(prefix: str, section: Schema, whole: Schema, example: dict[str, Any]) -> list[list[str]]:
    """One row a key or pattern of keys; a section within a section has a row of its own, and its keys below it."""
    rows: list[list[str]] = []
    first: dict[str, str] = {}  # shared definition -> the key below which it is written out
    named = section.get("properties", {})
    for name, reference in named.items():
        part, shared = resolve(reference, whole), reference.get("$ref", name)
        rows.append(_row(prefix, name, part, section, example))
        if shared in first and _has_keys(part):
            rows[-1][2] = f"as `{first[shared]}`"
        elif shared not in first:
            first[shared] = name
            rows += _keys_of(f"{prefix}{name}.", part, whole, example.get(name, {}))
    for pattern, part in section.get("patternProperties", {}).items():
        part, label = resolve(part, whole), _label(pattern)
        fitting = [value for name, value in example.items() if name not in named and re.search(pattern, name)]
        rows.append(_row(prefix, label, part, section, {}))
        if not named:  # else its keys stand below a name already
            rows += _keys_of(f"{prefix}{label}.", part, whole, fitting[0] if fitting else {})
    return rows


def _keys_of(prefix: str, part: Schema, whole: Schema, example: dict[str, Any]) -> list[list[str]]:
    return _rows(prefix, part, whole, example) if _has_keys(part) else []


def _has_keys(part: Schema) -> bool:
    return bool(part.get("properties") or part.get("patternProperties"))


def _label(pattern: str) -> str:
    """A pattern of keys as one reads it: `(trak, dtrak)_<words>`, `<name>`."""
    text = pattern.removeprefix("^").removesuffix("$").replace("[a-z][a-z0-9_]*", "<name>")
    return text.replace("[a-z0-9_]+", "<words>").replace("|", ", ")


def _row(prefix: str, name: str, part: Schema, section: Schema, example: dict[str, Any]) -> list[str]:
    optional = name in section.get("properties", {}) and _optional(name, part, section)
    kind, _, limits = describe(part).partition(" ")
    if kind == "one" or "const" in part:
        words = all(isinstance(choice, str) for choice in part.get("enum", []))
        kind, limits = "word" if words else "integer", describe(part)
    if "pattern" in part:
        kind, limits = "text", f"`{part['pattern']}`".replace("|", "\\|")
    if part.get("type") == "array":
        kind, limits = "list", describe(part).removeprefix("list of ").replace("|", "\\|")
    if part.get("type") == "object":
        kind, limits = "section", "" if _has_keys(part) else "{}"
    meaning = part["description"] + (" (optional)" if optional else "")
    default = _shown(part, "default")
    if default and "atMost" in part:
        default += f", at most {' x '.join(f'`{key}`' for key in part['atMost'])}"
    return [f"`{prefix}{name}`", kind, limits, meaning, default, _shown(example, name)]


def _optional(name: str, part: Schema, section: Schema) -> bool:
    return "default" not in part and name not in section.get("required", [])


def _shown(values: dict[str, Any], name: str) -> str:
    """A value as a cell; nothing for one that is absent, or a section, whose keys have rows of their own."""
    value = values.get(name, "")
    return "" if value == "" or (isinstance(value, dict) and (value or name == "default")) else f"`{_plain(value)}`"


def _table(rows: list[list[str]]) -> str:
    head = [["key", "type", "range", "meaning", "default", "digits.yaml"], ["---"] * 6]
    return "\n" + "".join("| " + " | ".join(row) + " |\n" for row in head + rows)


def _is_value(part: Schema) -> bool:
    return part.get("type") not in ("object", None)


def _plain(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
