"""Keeps a run from mixing versions: a tree that changes under a run is refused, and the files are named.

Every job on a cluster parses the Snakefile, the configs and the code again when it starts, so an edit in the middle of
a run would give some jobs the old study and some the new. The run's first parse saves a manifest of the tree and names
it in an environment variable that its jobs inherit; each later parse compares.
"""

import contextlib
import hashlib
import importlib.util
import json
import marshal
import os
import struct
import sys
from collections.abc import Container
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow import fingerprint, syntax

VARIABLE = "ATTRIBUTION_GUARD"
FOLDER = Path(".snakemake", "attribution")
SYNTAX_FOUND = "syntax"
KEPT = 20
BYTES = ("Snakefile", "workflow/**/*", "config/**/*", "envs/*.lock.txt", "dvc.lock")
SYNTAX = ("src/attribution/**/*.py",)


def manifest(root: Path | str) -> dict[str, str]:
    """Hash of every file that a run depends on, by its path under `root`.

    Python sources by their syntax (a comment may change during a run), everything else by its bytes. Hidden files,
    editors' backups and Markdown are left out: a run does not read them.
    """
    root = Path(root)
    found = {}
    for patterns, digest in ((BYTES, _bytes), (SYNTAX, fingerprint.file_hash)):
        for path in (path for pattern in patterns for path in root.glob(pattern)):
            name = path.relative_to(root)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
            if not hidden and path.is_file() and not name.name.endswith(("~", ".md")):
                found[name.as_posix()] = digest(path)
    return dict(sorted(found.items()))


def enter(root: Path | str) -> Path:
    """Begin a run, or join the run of this tree that the environment names; returns the path of its manifest.

    Manifests are named by their content: dry runs of an unchanged tree share one, and the newest 20 are kept.
    Raises StudyError naming the files that differ from the run's manifest.
    """
    root = Path(root).resolve()
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    recalled = syntax.recall(folder / SYNTAX_FOUND)
    now = manifest(root)
    syntax.keep(folder / SYNTAX_FOUND, recalled)
    digest = hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()
    begun = Path(os.environ.get(VARIABLE, ""))
    if begun.name and (not begun.parent.exists() or begun.parent.samefile(folder)):
        path = folder / begun.name  # a node may know the shared folder by another path
        if path.stem != digest:
            raise StudyError(f"the study changed while it was running ({_differences(path, now)}): start the run again")
        return path
    path = folder / f"{digest}.json"
    _save(path, now)
    os.environ[VARIABLE] = str(path)
    return path


def check_code(modules: tuple[str, ...], expected: str, root: Path | str = fingerprint.SOURCE) -> fingerprint.Code:
    """The present fingerprint of a job's code; StudyError where it is not the one that the run was planned with."""
    code = fingerprint.fingerprint(*modules, root=root)
    if code.hash != expected:
        raise StudyError(
            f"the code of {' and '.join(modules)}, or a module imported there, changed after the run was planned "
            f"(fingerprint {code.hash[:12]}, planned {expected[:12]}): start the run again"
        )
    return code


def check_loaded(code: fingerprint.Code, root: Path, before: Container[str]) -> set[str]:
    """Hold the package's modules that this process has imported against the code that was fingerprinted; their names.

    Each must be in the closure (or plan and record), come from the file that was read, under root/src, and be compiled
    from it; one that is not among those imported `before` must stand there as it did when it was fingerprinted.
    Raises StudyError naming one that does not.
    """
    source = str(fingerprint.SOURCE)
    if not Path(root, "src").is_dir() or not os.path.samefile(source, Path(root, "src")):
        raise StudyError(f"{fingerprint.PACKAGE} is imported from {source}, not from src: see to PYTHONPATH")
    found = set()
    for key, module in [*sys.modules.items()]:
        name = getattr(getattr(module, "__spec__", None), "name", key) if key == "__main__" else key
        if name.partition(".")[0] != fingerprint.PACKAGE:
            continue
        path, planned = getattr(module, "__file__", None), code.files.get(name)
        if fingerprint.recording(name):
            planned = fingerprint.find(source, name)
        if planned is None:
            raise StudyError(f"{name}: was imported, but no import of it is seen in the code that was fingerprinted")
        if path is None or not os.path.samefile(path, planned):
            raise StudyError(f"{name}: was imported from {path}, and {planned} was fingerprinted")
        if _outdated(path):
            raise StudyError(f"{name}: Python ran an older version that it keeps in __pycache__; delete that folder")
        late = name not in before and name in code.modules
        if late and fingerprint.file_hash(path) != code.modules[name]:
            raise StudyError(f"{name}: changed while the job ran, before it was imported: start the run again")
        found.add(name)
    return found


def _outdated(path: str) -> bool:
    """Whether the compiled copy that Python takes is of other source: it compares no more than seconds and sizes.

    A copy that was written after the source was put there is of it; an older one is held against the source, once.
    """
    kept = Path(importlib.util.cache_from_source(path))
    try:
        if kept.stat().st_mtime_ns > os.stat(path).st_ctime_ns:
            return False
        content = kept.read_bytes()
    except OSError:
        return False
    _, flags, seconds, size = struct.unpack("<4sIII", content[:16])
    status = os.stat(path)
    if flags or (seconds, size) != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF):
        return False  # Python does not take it
    if marshal.loads(content[16:]) != compile(Path(path).read_bytes(), path, "exec", dont_inherit=True):
        return True
    with contextlib.suppress(OSError):
        os.utime(kept)
    return False


def _bytes(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(path: Path, now: dict[str, str]) -> str:
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"its manifest {path.name} is gone, so the files cannot be named"
    changes = []
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            kind = "added" if name not in then else "removed" if name not in now else "changed"
            changes.append(f"{name} {kind}")
    return ", ".join(changes)


def _save(path: Path, files: dict[str, str]) -> None:
    try:
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror})") from error
    with contextlib.suppress(OSError):  # two runs may prune at once
        by_age = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in by_age[KEPT:]:
            old.unlink(missing_ok=True)
