"""What the syntax of a Python file says: the hash of its tree without docstrings, positions and
declarations, and what it imports.

To parse all modules of the package takes half a second, which every plan would spend anew. So findings are kept in a
file, by the SHA-256 of the bytes they were found in: an edited file, another Python or another version of this module
finds nothing there and is parsed.
"""

import ast
import contextlib
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow import declarations

PACKAGE = "attribution"
DECLARED = ("FAMILY", "DATASETS")  # of methods and data sets; what of them matters to a job enters it by its spec
Import = tuple[str, str | None, int]  # module, name imported from it (None: the module itself), line


@dataclass(frozen=True)
class Syntax:
    """Hash of the tree, and every import of the package in it, in or outside functions."""

    hash: str
    imports: tuple[Import, ...]


_by_path: dict[str, tuple[tuple[int, int], Syntax]] = {}  # path -> time and size, what was found
_by_bytes: dict[str, Syntax] = {}  # of this process, and recalled
_used: set[str] = set()  # keys of _by_bytes that a file of this process has


def parse(path: str) -> Syntax:
    """Of a file; read once a process, again where its time or size changed.

    Raises StudyError where it cannot be read, does not parse, or imports relatively.
    """
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size)
        known = _by_path.get(path)
        if known and known[0] == stamp:
            return known[1]
        source = Path(path).read_bytes()
        key = hashlib.sha256(source).hexdigest()
        if key not in _by_bytes:
            tree = ast.parse(source)
            nodes = list(ast.walk(tree))
            _by_bytes[key] = Syntax(_digest(tree, nodes), _imports(nodes, path))
    except SyntaxError as error:
        raise StudyError(f"{path}:{error.lineno}: not valid Python ({error.msg})") from error
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: unreadable source file ({error})") from error
    _used.add(key)
    _by_path[path] = stamp, _by_bytes[key]
    return _by_bytes[key]


def recall(path: Path | str) -> set[str]:
    """Take over the findings kept in `path`, and return their keys; none where it is absent or damaged."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        if kept["by"] == _by():
            found = {key: Syntax(digest, tuple(map(tuple, names))) for key, (digest, names) in kept["files"].items()}
            _by_bytes.update(found)
            return set(found)
    return set()


def keep(path: Path | str, recalled: set[str]) -> None:
    """Write the findings in files of this process where others were `recalled`; a read-only folder is no error."""
    if _used == recalled:
        return
    files = {key: (_by_bytes[key].hash, _by_bytes[key].imports) for key in sorted(_used)}
    with contextlib.suppress(OSError):
        part = Path(f"{path}.{os.getpid()}.part")
        part.write_text(json.dumps({"by": _by(), "files": files}) + "\n", encoding="utf-8")
        part.replace(path)


@cache
def _by() -> str:
    """What findings depend on beside the bytes: Python's grammar, and this module."""
    return f"{platform.python_version()} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


def _digest(tree: ast.Module, nodes: list[ast.AST]) -> str:
    """SHA-256 of the tree; its docstrings and declarations are removed in place."""
    tree.body[:] = [node for node in tree.body if not any(declarations.assigns(node, name) for name in DECLARED)]
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str())), *_]:
                    del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()


def _imports(nodes: list[ast.AST], path: str) -> tuple[Import, ...]:
    found: list[Import] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [(alias.name, None, node.lineno) for alias in node.names if _ours(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise StudyError(f"{path}:{node.lineno}: relative import; write `from {PACKAGE}...` in full")
            if _ours(node.module or ""):
                found += [(node.module or "", alias.name, node.lineno) for alias in node.names]
    return tuple(found)


def _ours(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


EMPTY = _digest(ast.parse(""), [])
