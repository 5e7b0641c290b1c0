"""Identity of a job, the part that is not code: its spec as one canonical string, and the hash of the pinned packages.

A spec holds just the config keys that a step reads. It goes to Snakemake as one string: Snakemake compares the values
of several params as a set without their names, so that swapping two of them would go unnoticed.
"""

import copy
import difflib
import hashlib
import json
import math
import os
import sys
from functools import reduce
from pathlib import Path
from typing import Any

from attribution.errors import StudyError


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks; equal values give equal strings, 1 and 1.0 differ.

    Raises StudyError for NaN, infinity and anything that is not JSON (keys must be strings).
    """
    _check(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def select(config: dict[str, Any], keys: str) -> dict[str, Any]:
    """The part of a config named by dotted keys separated by blanks, nested as in the config.

    `select(config, "seed training data.train draws_sweep?")`; a key with `?` may be absent from the config. A key after
    `-` leaves out what the ones before it took along: `methods.trak -methods.trak.damping`.
    Raises StudyError for an absent key without `?`.
    """
    chosen: dict[str, Any] = {}
    for key in keys.split():
        if key.startswith("-"):
            *sections, last = key.removeprefix("-").split(".")
            reduce(lambda part, name: part.get(name, {}), sections, chosen).pop(last, None)
            continue
        *sections, last = key.removesuffix("?").split(".")
        source, target, present = config, chosen, True
        for at, name in enumerate([*sections, last]):
            if not isinstance(source, dict) or name not in source:
                present = False
                if not key.endswith("?"):
                    raise StudyError(_unknown(source, key, at))
                break
            if at < len(sections):
                source = source[name]
        if not present:
            continue
        for name in sections:
            target = target.setdefault(name, {})
        target[last] = copy.deepcopy(source[last])
    return chosen


def lock_name() -> str:
    """Which lock file the running environment was made from: cpu or cuda.

    The setup writes it to `attribution-lock` in the environment's folder; else the variable ATTRIBUTION_LOCK; else cpu.
    """
    marker = Path(sys.prefix, "attribution-lock")
    if marker.is_file():
        return marker.read_text(encoding="utf-8").strip()
    return os.environ.get("ATTRIBUTION_LOCK", "").strip() or "cpu"


def lock_hash(root: Path | str) -> str:
    """SHA-256 over the pins of `envs/<lock_name>.lock.txt` under `root`, without comments, blanks and order.

    Raises StudyError where there is no such file.
    """
    folder = Path(root, "envs")
    path = folder / f"{lock_name()}.lock.txt"
    known = {file.name: file for file in folder.glob("*.lock.txt")}
    if path.name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise StudyError(f"{path}: no such lock file (present: {listed}); set ATTRIBUTION_LOCK to one of them")
    lines = known[path.name].read_text(encoding="utf-8").splitlines()
    pins = sorted(pin for line in lines if (pin := "".join(line.split("#", 1)[0].split())))
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def nearest(name: str, allowed: list[str]) -> str:
    """`did you mean ...? ` where a known name is close, else nothing; used in messages."""
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _unknown(source: Any, key: str, at: int) -> str:
    allowed = [str(name) for name in source] if isinstance(source, dict) else []
    name = key.split(".")[at]
    return f"{key}: no such key in the config; {nearest(name, allowed)}(present: {', '.join(allowed) or 'none'})"


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise StudyError(f"spec {where or '.'}: the key {name!r} is not a string")
            _check(item, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise StudyError(f"spec {where or '.'}: {value} is not a number that can be compared")
    elif value is not None and not isinstance(value, str | int | float):
        raise StudyError(f"spec {where or '.'}: {type(value).__name__} has no canonical form")
