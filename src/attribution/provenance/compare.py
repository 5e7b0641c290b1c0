"""Whether a file that was made again is the same, by the class that its receipt declares for it.

bitwise: the same bytes. tolerance: the same names, shapes, types and words, whole numbers equal, and every other number
within TOLERANCE of the largest of its array or line of text (floating-point sums in another order differ by less; a
wrong term or seed by more). statistical: a log of the same records, whose means lie within SPREAD of each other, its
times apart. Equal bytes are equal in every class. The ids within an SVG are hashes that the last bit of a coordinate
changes: they are taken by their order. Only the standard library is used.
"""

import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 1e-3
SPREAD = 0.1
TIMES = ("seconds", "cpu_seconds")  # of a log: what differs from run to run
WHOLE = {"I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B", "BOOL": "B"}
FLOATS = {"F64": "d", "F32": "f", "F16": "e"}
_ID = re.compile(r"(?<=[#\"])(?:[mp]|image|C\w+_)[0-9a-f]{10}(?=[)\"])")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def difference(before: Path, again: Path, kind: str) -> str | None:
    """What differs between a file and the one made again, beyond what its class allows; None where nothing does."""
    old, new = before.read_bytes(), again.read_bytes()
    if old == new:
        return None
    if kind == "bitwise":
        return f"{len(old)} bytes, again {len(new)} bytes, not the same"
    if before.suffix == ".png":
        return None if old[:33] == new[:33] else "a picture of another size"  # its SVG holds what it shows
    try:
        if before.suffix == ".safetensors":
            return _arrays(old, new)
        if before.suffix == ".svg":
            return _texts(*map(in_order, (old.decode(), new.decode())))
        judge = _log if kind == "statistical" else _texts
        return judge(old.decode(), new.decode())
    except (ValueError, LookupError, TypeError, struct.error) as error:  # JSON, text or arrays that are none
        return f"cannot be read ({' '.join(str(error).split())[:80]})"


def in_order(svg: str) -> str:
    """The SVG with the ids of its clip paths, markers and images replaced by numbers in the order of appearance."""
    seen: dict[str, str] = {}
    return _ID.sub(lambda found: seen.setdefault(found[0], f"id{len(seen)}"), svg)


def _arrays(old: bytes, new: bytes) -> str | None:
    """Two safetensors files: eight bytes with the length of a JSON header, the header, the arrays' bytes."""
    heads = [json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]) for data in (old, new)]
    for head in heads:
        head.pop("__metadata__", None)
    if heads[0].keys() != heads[1].keys():
        return f"arrays {sorted(heads[0])}, again {sorted(heads[1])}"
    for name in heads[0]:
        if any(heads[0][name][key] != heads[1][name][key] for key in ("dtype", "shape")):
            return f"{name}: another shape or type"
        one, other = (_values(data, head[name]) for data, head in zip((old, new), heads, strict=True))
        if heads[0][name]["dtype"] in FLOATS:
            if problem := _close(one, other):
                return f"{name}: {problem}"
        elif one != other:
            return f"{name}: {sum(a != b for a, b in zip(one, other, strict=True))} whole numbers differ"
    return None


def _values(data: bytes, entry: dict[str, Any]) -> Any:
    start = 8 + struct.unpack("<Q", data[:8])[0]
    first, last = entry["data_offsets"]
    kind = entry["dtype"]
    raw = data[start + first : start + last]
    if kind == "F16":
        return struct.unpack(f"<{len(raw) // 2}e", raw)
    return memoryview(raw).cast(FLOATS.get(kind) or WHOLE.get(kind, "B"))


def _close(one: Any, other: Any) -> str | None:
    """The largest difference, where it is more than TOLERANCE of the largest magnitude. NaN equals NaN alone."""
    if len(one) != len(other):
        return f"{len(one)} numbers, again {len(other)}"
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a != b and not (math.isnan(a) and math.isnan(b))]
    if not pairs:
        return None
    largest = max((abs(a) for a in one if math.isfinite(a)), default=0.0)
    worst = max((abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf) for a, b in pairs)
    return None if worst <= TOLERANCE * largest else f"differs by {worst:.3g}, its largest number is {largest:.3g}"


def _texts(old: str, new: str) -> str | None:
    """Two texts: the same words around numbers that are close, line by line."""
    lines = old.splitlines(), new.splitlines()
    if len(lines[0]) != len(lines[1]):
        return f"{len(lines[0])} lines, again {len(lines[1])}"
    for at, (one, other) in enumerate(zip(*lines, strict=True), 1):
        if one == other:
            continue
        if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
            return f"line {at}: {one.strip()[:60]!r}, again {other.strip()[:60]!r}"
        values = [[float(word.replace("−", "-")) for word in _NUMBER.findall(line)] for line in (one, other)]
        if problem := _close(*values):
            return f"line {at}: {problem}"
    return None


def _log(old: str, new: str) -> str | None:
    one, other = (list(_records(text)) for text in (old, new))
    if [record.get("step") for record in one] != [record.get("step") for record in other]:
        return f"{len(one)} records, again {len(other)}, or of other steps"
    for key in sorted(set().union(*one, *other) - {"step", *TIMES}):
        before, again = ([record[key] for record in records if key in record] for records in (one, other))
        if len(before) != len(again):
            return f"{key}: {len(before)} records have it, again {len(again)}"
        means = [sum(values) / len(values) for values in (before, again)]
        if not abs(means[0] - means[1]) <= SPREAD * abs(means[0]):
            return f"{key}: {means[0]:.3g} on average, again {means[1]:.3g}"
    return None


def _records(text: str) -> Iterator[dict[str, float]]:
    for line in text.splitlines():
        yield {key: value for key, value in json.loads(line).items() if isinstance(value, int | float)}
