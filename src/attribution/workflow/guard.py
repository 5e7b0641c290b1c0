"""Keeps a run from mixing versions: a tree that changes under a run is refused, and the files are named.

Every job on a cluster parses the Snakefile, the configs and the code again when it starts, so an edit in the middle of
a run would give some jobs the old study and some the new. The run's first parse saves a manifest of the tree and names
it in an environment variable that its jobs inherit; each later parse compares.
"""

import contextlib
import hashlib
import json
import os
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
