"""Files that are either whole or absent: safetensors, JSON and JSON lines, written beside the target and renamed.

A killed job or a full disk leaves the old file or none, never half of one. Reading turns a damaged file into one line
that names it. Tensors are safetensors: no pickle is ever read.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from attribution.errors import StudyError


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to `path` on success, removed on any error.

    Raises StudyError where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror})") from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


def save_tensors(path: Path | str, tensors: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> None:
    """Write named arrays (NumPy, or torch on any device) and a small JSON `meta` as one safetensors file."""
    arrays = {name: np.asarray(_numpy(value), order="C") for name, value in tensors.items()}
    with atomic(path) as part:
        try:
            save_file(arrays, part, metadata={"meta": json.dumps(meta or {}, sort_keys=True)})
        except SafetensorError as error:
            raise StudyError(f"{path}: cannot be written ({error})") from error


def load_tensors(path: Path | str, framework: str = "np", device: str = "cpu") -> dict[str, Any]:
    """All arrays of a safetensors file, as NumPy ("np") or torch ("pt") tensors.

    Raises StudyError naming the file where it is absent, truncated or not safetensors.
    """
    with _opened(path, framework, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


class StoredTensors(Mapping[str, Any]):
    """The torch tensors of a safetensors file, each read when it is asked for, and again when it is asked for again.

    Raises StudyError as load_tensors does: where the file is absent or truncated at once, not when it is read.
    """

    def __init__(self, path: Path | str, device: str = "cpu") -> None:
        self.path, self._device = path, device
        with _opened(path, "pt", device) as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        with _opened(self.path, "pt", self._device) as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_meta(path: Path | str) -> dict[str, Any]:
    """The JSON `meta` that save_tensors wrote."""
    with _opened(path, "np", "cpu") as file:
        return json.loads((file.metadata() or {}).get("meta", "{}"))


def save_json(path: Path | str, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused (ValueError): they are no numbers to report."""
    save_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def save_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def load_json(path: Path | str) -> Any:
    """Read JSON; StudyError naming the file where it is absent or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: unreadable or damaged ({error})") from error


def append_jsonl(path: Path | str, record: Mapping[str, Any]) -> None:
    """Append one record to a log; a line is written in one call, so that a reader sees whole lines."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, sort_keys=True) + "\n")


@contextlib.contextmanager
def _opened(path: Path | str, framework: str, device: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework=framework, device=device) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise StudyError(f"{path}: truncated or damaged ({error}); delete its folder and rerun") from error


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
