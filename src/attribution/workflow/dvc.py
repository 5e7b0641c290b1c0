"""Reads from dvc.lock which bytes a dataset must have; part of the identity of the job that draws from it."""

import hashlib
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow.config import read_yaml

LOCK = "dvc.lock"


def dataset_path(dataset: str) -> str:
    """Path, from the root, of the file that the dataset's stage (of the same name) makes."""
    return f"data/{dataset}.safetensors"


def file_md5(path: Path | str) -> str:
    """MD5 of a file's bytes, the hash that DVC keeps of it (an identity, no security)."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def locked_md5(root: Path | str, stage: str) -> str | None:
    """MD5 of the stage's dataset file in dvc.lock; None where dvc.lock or the stage is not there.

    Raises StudyError where dvc.lock is there but cannot be read as DVC's lock file.
    """
    path = Path(root, LOCK)
    if not path.exists():
        return None
    try:
        lock = read_yaml(path) or {}
        outs = lock.get("stages", {}).get(stage, {}).get("outs", [])
        found = [out["md5"] for out in outs if out["path"] == dataset_path(stage)]
    except (StudyError, AttributeError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{path}: unreadable or damaged ({reason}); restore it with: git checkout {LOCK}") from error
    return found[0] if found else None
