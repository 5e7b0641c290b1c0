"""Fingerprint of a step's code: it changes where what the code computes may change, and nowhere else.

The code of a step is the import closure of its modules within the package `attribution`, found in the syntax trees
(imports inside functions count). A module's hash is the SHA-256 of `ast.dump` without docstrings and positions, so an
edit of a comment, a docstring or the layout changes nothing, while a literal or an operator does.

Left out of the closure: `attribution.workflow`, `attribution.provenance`, `attribution.errors` and
`attribution.tracking`. They plan, name, record and mirror a job; they do not change what it computes. What the syntax
does not show is not found either: a step that picks a method by its name passes that name to `roots`.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow import registry
from attribution.workflow.syntax import EMPTY, PACKAGE, parse

RECORDING = tuple(f"{PACKAGE}.{name}" for name in ("workflow", "provenance", "errors", "tracking"))
SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Code:
    """Hash over a whole closure, and the hash of each module in it by its dotted name."""

    hash: str
    modules: dict[str, str]


def roots(step: str, method: str | None = None) -> tuple[str, ...]:
    """The modules that a job of rule `step` starts from; a job that scores by a method adds the method's module."""
    step_module = f"{PACKAGE}.steps.{step}"
    return (step_module,) if method is None else (step_module, f"{PACKAGE}.methods.{registry.method(method).module}")


def fingerprint(*modules: str, root: Path | str = SOURCE) -> Code:
    """Fingerprint of the import closure of `modules` (dotted names) under the source folder `root`.

    The packages that a module lies in are part of the closure, as importing it runs their `__init__.py`; empty ones
    are not listed. Files are parsed once a process, again where their time or size changed.

    Raises StudyError where a module does not exist, does not parse, or imports relatively.
    """
    root = str(root)
    hashes: dict[str, str] = {}
    waiting = [(name, "the workflow") for name in modules]
    seen: set[str] = set()
    while waiting:
        name, importer = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _find(root, name)
        if path is None:
            raise StudyError(f"{importer}: needs the module {name}, which does not exist")
        syntax = parse(path)
        hashes[name] = syntax.hash
        if "." in name:
            waiting.append((name.rpartition(".")[0], path))
        for module, member, line in syntax.imports:
            where = f"{path}:{line}"
            if not _recording(module):
                waiting.append((module, where))
            if member and not _recording(f"{module}.{member}") and _find(root, f"{module}.{member}"):
                waiting.append((f"{module}.{member}", where))
    listed = {name: hashes[name] for name in sorted(hashes) if hashes[name] != EMPTY}
    return Code(hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest(), listed)


def file_hash(path: Path | str) -> str:
    """Hash of one Python file's syntax tree without docstrings and positions. Raises StudyError as `fingerprint`."""
    return parse(str(path)).hash


def _recording(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in RECORDING)


def _find(root: str, module: str) -> str | None:
    """The file of a module, or of a package; None where there is neither."""
    base = os.path.join(root, *module.split("."))
    for path in (f"{base}.py", os.path.join(base, "__init__.py")):
        if os.path.isfile(path):
            return path
    return None
