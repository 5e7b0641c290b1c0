"""A config held to its schema, and the schema in words: which key is wrong, what stands there, what may stand there."""

import math
import re
from collections.abc import Iterator
from typing import Any

from attribution.workflow.spec import nearest

Schema = dict[str, Any]
_TIME = re.compile(r"(?:(\d+):)?(\d+):\d\d")  # as Slurm reads it: hours, minutes, seconds
LENGTH, LONGEST = 1000, 200  # characters of a text, and of a value in a message
RANK = {"additionalProperties": 0, "type": 1, "required": 3}


def first_problem(config: Any, schema: Schema) -> tuple[str, str] | None:
    """Dotted key and message of the first error, an unknown key before the key that it probably stands for; else None.

    Integers are written without a point, and numbers are finite: JSON Schema itself would take 1000.0 for an integer
    and let NaN through every range. Texts can be printed: a pattern's $ would let a line break through at their end.
    """
    import jsonschema

    if unreadable := next(_unreadable(config), None):
        return unreadable

    standard = jsonschema.Draft202012Validator
    types = standard.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number})
    validator = jsonschema.validators.extend(standard, type_checker=types)(schema)
    errors = [narrow for error in validator.iter_errors(config) for narrow in _narrowed(error)]
    errors.sort(key=lambda error: (RANK.get(error.validator, 2), _dotted(error)))
    return _explain(errors[0], schema) if errors else None


def resolve(schema: Schema, whole: Schema) -> Schema:
    """The schema that a `$ref: "#/$defs/<name>"` points to, with the keywords written beside the reference."""
    if "$ref" not in schema:
        return schema
    return whole["$defs"][schema["$ref"].removeprefix("#/$defs/")] | {k: v for k, v in schema.items() if k != "$ref"}


def schema_of(section: Schema, name: str, whole: Schema) -> Schema | None:
    """The schema of a section's key, by its name or by the first pattern that it fits; None for an unknown key."""
    by_pattern = (part for pattern, part in section.get("patternProperties", {}).items() if re.search(pattern, name))
    part = section.get("properties", {}).get(name) or next(by_pattern, None)
    return None if part is None else resolve(part, whole)


def describe(schema: Schema) -> str:
    """What a schema allows, in words: `integer >= 1`, `one of mc, type2`, `list of number > 0`."""
    if "oneOf" in schema:
        return "kind: one of " + ", ".join(kinds(schema))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "pattern" in schema:
        return f"text like {schema['pattern']}"
    if schema.get("type") == "array":
        fewest = f" (at least {schema['minItems']})" if schema.get("minItems", 0) > 1 else ""
        return f"list of {describe(schema['items'])}{fewest}"
    if schema.get("type") == "object":
        return f"keys {', '.join(schema['properties'])}" if schema.get("properties") else "{}"
    limits = [
        f"{sign} {schema[keyword]}"
        for keyword, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
            ("exclusiveMaximum", "<"),
            ("multipleOf", "a multiple of"),
        )
        if keyword in schema
    ]
    return " ".join([" or ".join(types(schema)), " and ".join(limits)]).strip()


def types(schema: Schema) -> list[str]:
    """The JSON types that a schema allows; none where it lists values."""
    named = schema.get("type", [])
    return named if isinstance(named, list) else [named]


def kinds(schema: Schema) -> list[str]:
    """The `kind` of each alternative of a `oneOf`, in order."""
    return [option["properties"]["kind"]["const"] for option in schema["oneOf"]]


def _narrowed(error: Any) -> list[Any]:
    """A failed `oneOf` becomes the errors of the alternative whose `kind` was chosen."""
    if error.validator != "oneOf" or not isinstance(error.instance, dict):
        return [error]
    known, kind = kinds(error.schema), error.instance.get("kind")
    return [e for e in error.context if e.schema_path[0] == known.index(kind)] if kind in known else [error]


def _explain(error: Any, whole: Schema) -> tuple[str, str]:
    key, schema, value = _dotted(error), error.schema, error.instance
    if error.validator == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        patterns = schema.get("patternProperties", {})
        name = next(key for key in value if key not in allowed and not any(re.search(p, key) for p in patterns))
        message = f"unknown key; {nearest(name, allowed)}(allowed: {', '.join(allowed) or 'none'})"
        return f"{key}.{name}".lstrip("."), message
    if error.validator == "required":
        name = next(name for name in schema["required"] if name not in value)
        wanted = resolve(schema["properties"][name], whole)
        return f"{key}.{name}".lstrip("."), f"missing; {wanted['description']} ({describe(wanted)})"
    if error.validator == "oneOf":
        if not isinstance(value, dict) or "kind" not in value:
            return f"{key}.kind", f"missing; {schema['description']} ({describe(schema)})"
        kind = value["kind"]
        close = nearest(str(kind), kinds(schema))
        return f"{key}.kind", f"{_shown(kind)} is not allowed; {close}({describe(schema)})"
    if error.validator == "uniqueItems":
        return key, f"{_shown(value)} holds a value twice"
    close = nearest(value, [*map(str, schema["enum"])]) if "enum" in schema and isinstance(value, str) else ""
    return key, f"{_shown(value)} is not allowed; {close}{_hint(value, schema)}(expected {describe(schema)})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _hint(value: Any, schema: Schema) -> str:
    """Help with YAML's traps: what is in quotes, `yes` and 1:00:00 are words, and a key without a value is null."""
    if isinstance(value, str) and "number" in types(schema) and _reads_as_number(value):
        return f"YAML reads that as text, write {float(value)!r} "
    if isinstance(value, str) and "integer" in types(schema) and (time := _TIME.fullmatch(value)):
        return f"a time is written in minutes: {int(time[1] or 0) * 60 + int(time[2])} "
    if isinstance(value, str) and "boolean" in types(schema):
        return "write true or false "
    if value is None:
        empty = "object" in types(schema) and not schema.get("properties")
        return "write {} after the colon " if empty else "the key has no value "
    return ""


def _dotted(error: Any) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path]
    return "".join(parts).lstrip(".")


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and finite(value)


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value)


def finite(value: float) -> bool:
    """Whether a float can hold the number: an integer of YAML may have any length."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _unreadable(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and message of every text, and every name of a key, too long or holding a line break."""
    if isinstance(value, str) and len(value) > LENGTH:
        yield key, f"{_shown(value)} is longer than {LENGTH} characters; shorten it"
    elif isinstance(value, str) and not value.isprintable():
        yield key, f"{_shown(value)} holds a character that cannot be printed; drop it"
    if isinstance(value, dict):
        for name, item in value.items():
            if name.isprintable() and len(name) <= LENGTH:
                yield from _unreadable(item, f"{key}.{name}".lstrip("."))
            else:
                yield key, f"the key {_shown(name)} is too long, or holds a character that cannot be printed"
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _unreadable(item, f"{key}[{at}]")


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
