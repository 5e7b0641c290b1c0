"""Loading of one study's config: one YAML file, held to the schema, refused with one line that says what to change.

Nothing has a default: what is not written in the file is not in the study. The schema (JSON Schema 2020-12) holds the
keys, their types and ranges; `config_schema` says what breaks it, `config_rules` holds the rules between keys.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import registry
from attribution.workflow.config_rules import broken_rule
from attribution.workflow.config_schema import Schema, first_problem, kinds, resolve, schema_of, types


def load(
    path: Path | str, schema_path: Path | str, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The validated config in `path`, changed by a function of it; whole numbers are floats where the schema says so.

    Raises StudyError: one line with the file, the dotted key, its value and what is allowed there.
    """
    config, schema = read_yaml(path), _schema(str(schema_path), Path(schema_path).stat().st_mtime_ns)
    if change is not None and isinstance(config, dict):
        config = change(config)
    named = config.get("methods") if isinstance(config, dict) else None
    schema = registry.extended(schema, named if isinstance(named, dict) else ())
    if not (problem := first_problem(config, schema)):
        config = config | {"methods": registry.filled(config["methods"])}
        problem = broken_rule(config)
    if problem:
        key, message = problem
        raise StudyError(f"{path}: {key}: {message}" if key else f"{path}: {message}")
    return _as_floats(config, schema, schema)


def read_yaml(path: Path | str) -> Any:
    """One YAML document of mappings with string keys; StudyError where it is unreadable or repeats a key."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times as fast

    def mapping(loader: yaml.constructor.SafeConstructor, node: yaml.MappingNode) -> dict[str, Any]:
        keys: set[str] = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise StudyError(f"{path}:{line}: the key {key!r} is not a word; write it in quotes")
            if key in keys:
                raise StudyError(f"{path}:{line}: {key}: given twice; keep one of them")
            keys.add(key)
        return loader.construct_mapping(node, deep=True)

    class Loader(base):
        """A safe loader that refuses repeated keys, where YAML would keep the last one silently."""

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{path}:{line}: not valid YAML ({error.problem})") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise StudyError(f"{path}: cannot be read ({reason})") from error


@cache
def _schema(path: str, changed: int) -> Schema:  # noqa: ARG001
    """The schema that all studies of a process are held to; read again where the file's time `changed`."""
    return read_yaml(path)


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
