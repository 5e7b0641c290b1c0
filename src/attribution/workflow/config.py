"""Loading of one study's config: one YAML file, held to the schema, refused with one line that says what to change.

The schema (JSON Schema 2020-12) holds the keys, their types, ranges and defaults; `config_schema` says what breaks it,
`config_rules` holds the rules between keys. What a study leaves out is resolved here, so that all else sees whole
studies. YAML is read as its version 1.2 says (1e-3 is a number, `no` and 1:00:00 are words), with merge keys.
"""

import copy
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import datasets, registry
from attribution.workflow.config_rules import broken_rule
from attribution.workflow.config_schema import Schema, finite, first_problem, kinds, resolve, schema_of, types

CORE = {  # tag -> what a plain scalar of it looks like, the characters that it begins with, and its value
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""], lambda _text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF"), lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+", list("-+0123456789"), int),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
        lambda text: float(re.sub(r"\.(?=[a-zA-Z])", "", text)),
    ),
}


def load(
    path: Path | str, schema_path: Path | str, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The validated config in `path`, changed by a function of it and completed by defaults; whole numbers are floats
    where the schema says so.

    Raises StudyError: one line with the file, the dotted key, its value and what is allowed there.
    """
    config, schema = read_yaml(path), schema_in(schema_path)
    if change is not None and isinstance(config, dict):
        config = change(config)
    schema = registry.extended(schema, _methods(config, schema))
    config = resolved(config, schema)
    if problem := first_problem(config, schema) or broken_rule(config):
        key, message = problem
        raise StudyError(f"{path}: {key}: {message}" if key else f"{path}: {message}")
    return _as_floats(config, schema, schema)


def read_yaml(path: Path | str) -> Any:
    """One YAML document of mappings with string keys; StudyError where it is unreadable or repeats a key."""
    import yaml

    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_loader(str(path)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{path}:{line}: not valid YAML ({error.problem})") from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # a ValueError: no UTF-8, or too many digits
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise StudyError(f"{path}: cannot be read ({reason})") from error
    except RecursionError as error:
        raise StudyError(f"{path}: nested too deeply") from error


def schema_in(path: Path | str) -> Schema:
    """The schema of studies in a file, with the data sets that are declared."""
    return _schema(str(path), Path(path).stat().st_mtime_ns)


def resolved(config: Any, schema: Schema) -> Any:
    """The config with the defaults of all that it leaves out; what it writes stays as it is, valid or not."""
    defaulted: list[tuple[str, Schema]] = []
    config = _filled(config, schema, schema, "", defaulted)
    for key, part in defaulted:
        if limits := [_at(config, other) for other in part.get("atMost", [])]:
            *sections, last = key.split(".")
            place = _at(config, ".".join(sections))
            if all(type(limit) in (int, float) and finite(limit) for limit in limits) and finite(math.prod(limits)):
                place[last] = max(min(place[last], math.floor(math.prod(limits) + 1e-9)), 1)
    return config


@cache
def _schema(path: str, changed: int) -> Schema:  # noqa: ARG001
    """The schema that all studies of a process are held to; read again where the file's time `changed`."""
    schema = read_yaml(path)
    schema["properties"]["data"]["properties"]["dataset"]["enum"] = list(datasets.declared())
    return schema


def _filled(value: Any, schema: Schema, whole: Schema, key: str, defaulted: list[tuple[str, Schema]]) -> Any:
    """A value with the defaults of its keys; of each, its dotted key and schema are added to `defaulted`."""
    if "oneOf" in schema and isinstance(value, dict) and value.get("kind") in kinds(schema):
        schema = schema["oneOf"][kinds(schema).index(value["kind"])]
    if not isinstance(value, dict) or "oneOf" in schema:
        return value
    found = dict(value)
    for name, part in schema.get("properties", {}).items():
        part = resolve(part, whole)
        if name not in found and "default" in part:
            found[name] = copy.deepcopy(part["default"])
            defaulted.append((f"{key}{name}", part))
    for name, item in found.items():
        if (part := schema_of(schema, name, whole)) is not None:
            found[name] = _filled(item, part, whole, f"{key}{name}.", defaulted)
    return found


def _methods(config: Any, schema: Schema) -> list[str]:
    """The names that a config gives methods, those of the default where it lists none."""
    named = config.get("methods", schema["properties"]["methods"]["default"]) if isinstance(config, dict) else None
    return list(named) if isinstance(named, dict) else []


def _at(config: Any, key: str) -> Any:
    for name in filter(None, key.split(".")):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _loader(path: str) -> Any:
    """A loader of YAML 1.2 that refuses repeated keys, where YAML would keep the last one silently."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times as fast
    prefix, merge = "tag:yaml.org,2002:", "tag:yaml.org,2002:merge"

    def mapping(loader: yaml.constructor.SafeConstructor, node: yaml.MappingNode) -> dict[str, Any]:
        keys: set[str] = set()
        for key_node, _ in node.value:
            key = "<<" if key_node.tag == merge else loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise StudyError(f"{path}:{line}: the key {key!r} is not a word; write it in quotes")
            if key in keys:
                raise StudyError(f"{path}:{line}: {key}: given twice; keep one of them")
            keys.add(key)
        return loader.construct_mapping(node, deep=True)

    def scalar(value: Callable[[str], Any]) -> Callable[..., Any]:
        return lambda loader, node: value(loader.construct_scalar(node))

    kept = {tag: base.yaml_constructors[tag] for tag in (f"{prefix}str", f"{prefix}seq", None)}
    Loader = type("Loader", (base,), {"yaml_implicit_resolvers": {}, "yaml_constructors": kept})
    Loader.add_implicit_resolver(merge, re.compile(r"<<$"), ["<"])
    Loader.add_constructor(f"{prefix}map", mapping)
    for name, (pattern, first, value) in CORE.items():
        Loader.add_implicit_resolver(f"{prefix}{name}", re.compile(rf"(?:{pattern})$"), first)
        Loader.add_constructor(f"{prefix}{name}", scalar(value))
    return Loader


def _as_floats(value: Any, schema: Schema, whole: Schema) -> Any:
    """The config with 1 as 1.0 where the schema says number: two ways of writing one value are one study."""
    schema = resolve(schema, whole)
    if "oneOf" in schema:
        schema = schema["oneOf"][kinds(schema).index(value["kind"])]
    if isinstance(value, dict):
        return {name: _as_floats(item, schema_of(schema, name, whole), whole) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item, schema["items"], whole) for item in value]
    return float(value) if "number" in types(schema) and value is not None else value
