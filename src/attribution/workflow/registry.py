"""The attribution methods, as their modules declare them: read from the files, never imported.

A module of attribution.methods holds a family of methods and begins with FAMILY, a literal:

    family    the name under which figures group and colour its methods
    reads     what scores are made of, one of READS; it chooses the rule, and with it what the functions are given
    settings  name -> JSON schema of a setting in the config, with a default; "$ref" names a definition of the schema
    methods   name -> label, about, score (the formula), source (the paper); optional: family and settings of its own,
              variants (words -> label of <name>_<words>), formerly (name in published numbers -> the same)

A method is computed by the module's function of its name, or by its function `score` where it has none of that name.
`<name>_<words>` in a config is a variant: the same function with other settings. Schema, wildcard constraints, labels,
config/README.md and the table of docs/methods.md follow from the declarations; FAMILY is no part of a job's code, as
settings enter a job by its spec.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import declarations
from attribution.workflow.spec import nearest

SOURCE = Path(__file__).resolve().parents[2]
FOLDER = Path("attribution", "methods")
NAME = "FAMILY"
READS = {
    "images": "images of the queries and the training set (and a seed)",
    "gram": "inner products of the queries' and the training set's gradients",
    "eigenbasis": "gradients in the eigenbasis of a Kronecker-factored curvature, and its eigenvalues",
    "gradients": "gradients, and the model with noised examples for a curvature of its own",
    "model": "gradients, and the model with fresh noised examples at every step",
    "checkpoints": "inner products of gradients at checkpoints of the training",
    "unlearned": "losses of the training set before and after a query is unlearned",
    "encoded": "residuals of an encoded ensemble",
    "seeds": "a method's scores of models of other seeds",
    "methods": "scores of other methods",
}
FAMILY_KEYS = {"family", "reads", "settings", "methods"}
METHOD_KEYS = {"label", "about", "score", "source"}
OPTIONAL_KEYS = {"family", "settings", "variants", "formerly"}


@dataclass(frozen=True)
class Method:
    """One declared method; `settings` are those of its family with its own over them."""

    name: str
    module: str
    reads: str
    family: str
    label: str
    about: str
    score: str
    source: str
    settings: dict[str, Any]
    variants: dict[str, str]
    formerly: dict[str, dict[str, str]]


def methods(root: Path | str = SOURCE) -> dict[str, Method]:
    """Every declared method by its name, in the order of READS. Raises StudyError for a faulty declaration."""
    folder = Path(root, FOLDER)
    files = sorted(name for name in os.listdir(folder) if name.endswith(".py") and name != "__init__.py")
    return _methods(folder, tuple((name, (folder / name).stat().st_mtime_ns) for name in files))


def method(name: str, root: Path | str = SOURCE) -> Method:
    """The method that `name` is or is a variant of: the longest declared name that it begins with, word by word.

    Raises StudyError where there is none.
    """
    known, words = methods(root), name.split("_")
    for count in range(len(words), 0, -1):
        if found := known.get("_".join(words[:count])):
            return found
    raise StudyError(
        f"method {name}: {nearest(name, list(known))}it is none of {', '.join(known)}, nor a variant of one"
    )


def reading(studies: Iterable[Mapping[str, Any]], reads: str) -> set[str]:
    """The methods of the studies (their configs) whose scores are made of `reads`, one of READS."""
    return {name for config in studies for name in config["methods"] if method(name).reads == reads}


def plain(name: str) -> bool:
    """Whether this is a declared method as it is, or a declared one averaged over seeds, and no variant."""
    if former := _former(name):
        return former[1] == next(iter(former[0].formerly.values()))[""]
    return name in methods() or method(name).reads == "seeds"


def label(name: str) -> str:
    """What readers know a method by: declared, of a variant its method's label with the variant's words.

    An unknown method is known by its name. `name` may be one that the method had formerly.
    """
    if former := _former(name):
        return former[1]
    try:
        found = method(name)
    except StudyError:
        return name
    words = name.removeprefix(found.name).removeprefix("_")
    if found.reads == "seeds" and words:
        return f"{label(words)}, ensemble"
    if words.startswith("loss_at_"):
        return f"{found.label} of loss at t = {words.removeprefix('loss_at_')}"
    return found.variants.get(words, f"{found.label} ({words.replace('_', ' ')})") if words else found.label


def family(name: str) -> str:
    """The family of a method, of an ensemble over seeds that of its method; "Other" where it is not declared."""
    if former := _former(name):
        return former[0].family
    try:
        found = method(name)
    except StudyError:
        return "Other"
    words = name.removeprefix(found.name).removeprefix("_")
    return family(words) if found.reads == "seeds" and words else found.family


def labels(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Label and family of each method of a study: what its tables and figures depend on beside their code."""
    return {name: [label(name), family(name)] for name in config["methods"]}


def extended(schema: dict[str, Any], named: Iterable[str]) -> dict[str, Any]:
    """The schema of a study with the declared methods in its section `methods`, and the variants among `named`."""
    known = methods()
    sections = {name: _section(found) for name, found in known.items()}
    for name in (name for name in named if isinstance(name, str) and name not in sections):
        try:
            sections[name] = sections[method(name).name]
        except StudyError:
            continue  # refused by the schema as an unknown key
    properties = schema["properties"] | {"methods": schema["properties"]["methods"] | {"properties": sections}}
    return schema | {"properties": properties}


def _former(name: str) -> tuple[Method, str] | None:
    """The method that had this name, or a variant's of it, when numbers were published, and the label it had."""
    for found in methods().values():
        for old, labels in found.formerly.items():
            if f"{name}_".startswith(f"{old}_"):
                words = name.removeprefix(old).removeprefix("_")
                return found, labels.get(words, f"{labels['']} ({words.replace('_', ' ')})")
    return None


def _section(found: Method) -> dict[str, Any]:
    required = [name for name, part in found.settings.items() if "default" not in part]
    return {
        "description": found.about,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": found.settings,
    }


@cache
def _methods(folder: Path, files: tuple[tuple[str, int], ...]) -> dict[str, Method]:
    found: dict[str, Method] = {}
    for file, _ in files:
        for new in _declared(folder / file):
            if new.name in found:
                raise StudyError(f"{folder / file}: {new.name} is declared in {found[new.name].module}.py already")
            found[new.name] = new
    return {new.name: new for new in sorted(found.values(), key=lambda one: list(READS).index(one.reads))}


def _declared(path: Path) -> list[Method]:
    declaration = _literal(path)
    shared = declaration["settings"]
    found = []
    for name, entry in declaration["methods"].items():
        _keys(f"{path}: {NAME}: methods: {name}", entry, METHOD_KEYS, OPTIONAL_KEYS)
        own = entry.get("settings", {})
        settings = {key: shared.get(key, {}) | own.get(key, {}) for key in (shared | own)}
        texts = {key: entry[key] for key in METHOD_KEYS}
        of = entry.get("family", declaration["family"])
        more = {"settings": settings, "variants": entry.get("variants", {}), "formerly": entry.get("formerly", {})}
        found.append(Method(name, path.stem, declaration["reads"], of, **texts, **more))
    return found


def _literal(path: Path) -> dict[str, Any]:
    declaration = declarations.literal(path, NAME)
    if declaration is None:
        raise StudyError(f"{path}: must begin with {NAME} = {{...}}, which declares its methods")
    _keys(f"{path}: {NAME}", declaration, FAMILY_KEYS, set())
    if declaration["reads"] not in READS:
        raise StudyError(f"{path}: {NAME}: reads: {declaration['reads']!r} is none of {', '.join(READS)}")
    return declaration


def _keys(where: str, entry: Any, required: set[str], optional: set[str]) -> None:
    keys = set(entry) if isinstance(entry, dict) else set()
    if absent := required - keys:
        raise StudyError(f"{where}: {', '.join(sorted(absent))} missing")
    if unknown := keys - required - optional:
        raise StudyError(f"{where}: {', '.join(sorted(unknown))} unknown (allowed: {', '.join(required | optional)})")
