"""Fingerprint of a step's code: it changes where what the code computes may change, and nowhere else.

The code of a step is the import closure of its modules within the package `attribution`, found in the syntax trees
(imports inside functions count). A module's hash is the SHA-256 of `ast.dump` without docstrings and positions, so an
edit of a comment, a docstring or the layout changes nothing, while a literal or an operator does. The command that the
rule of the step gives to the shell stands among the modules, as `command <step>`.

Left out of the closure: `attribution.workflow`, `attribution.provenance`, `attribution.errors` and
`attribution.tracking`. They plan, name, record and mirror a job; they do not change what it computes. What the syntax
does not show is not found either: a step that picks a method by its name passes that name to `roots`.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow import commands, registry
from attribution.workflow.syntax import EMPTY, PACKAGE, parse

RECORDING = tuple(f"{PACKAGE}.{name}" for name in ("workflow", "provenance", "errors", "tracking"))
SOURCE = Path(__file__).resolve().parents[2]
SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)  # as Python looks for them in a folder


@dataclass(frozen=True)
class Code:
    """Hash over a whole closure, the hash of each module in it by its dotted name, and the file of each, also empty."""

    hash: str
    modules: dict[str, str]
    files: dict[str, str]


def roots(step: str, method: str | None = None) -> tuple[str, ...]:
    """The modules that a job of rule `step` starts from; a job that scores by a method adds the method's module."""
    step_module = f"{PACKAGE}.steps.{step}"
    return (step_module,) if method is None else (step_module, f"{PACKAGE}.methods.{registry.method(method).module}")


def fingerprint(*modules: str, root: Path | str = SOURCE) -> Code:
    """Fingerprint of the import closure of `modules` (dotted names) under the source folder `root`.

    The packages that a module lies in are part of the closure, as importing it runs their `__init__.py`; empty ones
    are not listed. Files are parsed once a process, again where their time or size changed.

    Raises StudyError where a module does not exist or is there twice, does not parse, or imports relatively.
    """
    root = str(root)
    hashes: dict[str, str] = {}
    files: dict[str, str] = {}
    waiting = [(name, "the workflow") for name in modules]
    while waiting:
        name, importer = waiting.pop()
        if name in files:
            continue
        path = find(root, name)
        if path is None:
            raise StudyError(f"{importer}: needs the module {name}, which does not exist")
        files[name] = path
        syntax = parse(path)
        hashes[name] = syntax.hash
        if "." in name:
            waiting.append((name.rpartition(".")[0], path))
        for module, member, line in syntax.imports:
            where = f"{path}:{line}"
            if not recording(module):
                waiting.append((module, where))
            if member and not recording(f"{module}.{member}") and find(root, f"{module}.{member}"):
                waiting.append((f"{module}.{member}", where))
    listed = {name: hashes[name] for name in sorted(hashes) if hashes[name] != EMPTY}
    written = command_hashes(Path(root).parent)
    listed |= {name: code for name, code in written.items() if f"{PACKAGE}.steps.{name.split()[1]}" in modules}
    return Code(hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest(), listed, files)


def command_hashes(root: Path | str) -> dict[str, str]:
    """`command <step>` -> the hash of the command that the step's rule under `root` gives to the shell."""
    return {f"command {step}": hashlib.sha256(text.encode()).hexdigest() for step, text in commands.read(root).items()}


def file_hash(path: Path | str) -> str:
    """Hash of one Python file's syntax tree without docstrings and positions. Raises StudyError as `fingerprint`."""
    return parse(str(path)).hash


def recording(module: str) -> bool:
    """Whether a module plans, names, records or mirrors, and so is no part of any closure."""
    return any(module == name or module.startswith(f"{name}.") for name in RECORDING)


def find(root: str, module: str) -> str | None:
    """The file that Python imports for a module, or a package; None where there is neither.

    Raises StudyError where several could be meant, of which Python takes one without a word (a package before a module,
    machine code before source), and where it is no source file.
    """
    base = os.path.join(root, *module.split("."))
    found = [path for stem in (os.path.join(base, "__init__"), base) for path in _present(stem)]
    if len(found) > 1:
        raise StudyError(f"{module}: is there twice, {' and '.join(found)}; Python imports the first: delete one")
    if found and not found[0].endswith(".py"):
        raise StudyError(f"{module}: {found[0]} is no source file, whose code could be told from other code")
    return found[0] if found else None


def _present(stem: str) -> list[str]:
    return [f"{stem}{suffix}" for suffix in SUFFIXES if os.path.isfile(f"{stem}{suffix}")]
