"""Reported numbers against the files they come from: where a number stands in its metric file, what the costs sum to.

A value is looked for by itself, with its interval beside it, under keys that its id names; a paired difference is the
difference of two values in metric files. That says of one number what the hash of the file of numbers says of all.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from attribution.provenance import receipt
from attribution.provenance.chain import above, outputs, parent
from attribution.provenance.ledger import NUMBERS, Fault, Ledger

COSTS = "cost"
OVERHEAD = "cost.overhead.share"
WALLS = "walls.json"  # of a published study: wall seconds of each job, as Snakemake measured them
Places = dict[str, str]  # number -> where in its metric file it stands


class Leaves(NamedTuple):
    """The numbers in a metric file, but those of sweeps: keys, value, interval beside it; and all keys."""

    leaves: list[tuple[tuple[str, ...], float, Any]]
    words: set[str]

    @classmethod
    def of(cls, metric: Any) -> "Leaves":
        leaves = [leaf for leaf in _leaves(metric) if "sweep" not in leaf[0]]
        return cls(leaves, {part for path, _, _ in leaves for part in path})


def inspect(ledger: Ledger) -> tuple[list[Fault], Places]:
    """Faults of numbers and of the file that holds them, and the place of each number that was found."""
    faults, places = [], {}
    odd: list[str] = []
    sources = {entry["source"] for entry in ledger.numbers.values()}
    leaves = {source: Leaves.of(found) for source in sources if (found := _metric(ledger, source)) is not None}
    for key, entry in ledger.numbers.items():
        if key.startswith(f"{COSTS}."):
            faults += [
                Fault(f"{ledger.shown(ledger.numbers_path())}: {key}", what, "", True, (key,))
                for what in _cost(ledger, key)
            ]
            continue
        if what := _origin(ledger, entry):
            faults.append(Fault(f"{ledger.shown(ledger.numbers_path())}: {key}", what, "", True, (key,)))
        if entry["source"] not in leaves:
            continue
        if (place := _place(ledger, key, entry, leaves[entry["source"]])) is not None:
            places[key] = place
        else:
            odd.append(key)
    return faults + _whole(ledger, odd), places


def roots(ledger: Ledger, key: str) -> set[str]:
    """The jobs that a number comes from directly: that of its source, and in a difference that of the other method."""
    if key.startswith(f"{COSTS}."):
        step = key.split(".")[1]
        return {folder for folder, entry in ledger.receipts.items() if step in (entry["step"], "overhead")}
    source = ledger.numbers[key]["source"]
    if "_difference." not in key:
        return {parent(source)}
    jobs = {parent(entry["source"]) for entry in ledger.numbers.values()}
    for first, second in _splits(key.split(".")[1]):
        pair = {f"{ledger.home}/lds/{first}", f"{ledger.home}/lds/{second}"}
        if pair <= jobs:
            return {parent(source), *pair}
    return {parent(source)}


def cones(ledger: Ledger) -> dict[str, set[str]]:
    """For each number the folders of all jobs that it was made by; of a cost, those whose receipts it sums."""
    known: dict[frozenset[str], set[str]] = {}
    found = {}
    for key in ledger.numbers:
        start = frozenset(roots(ledger, key))
        if not key.startswith(f"{COSTS}.") and start not in known:
            known[start] = above(ledger, set(start))
        found[key] = set(start) if key.startswith(f"{COSTS}.") else known[start]
    return found


def below(ledger: Ledger, fault: Fault, cones: dict[str, set[str]]) -> list[str]:
    """Every number that a fault spoils."""
    if fault.numbers is not None:
        return list(fault.numbers)
    if fault.folder == f"{ledger.home}/{NUMBERS}":
        return list(ledger.numbers)
    return [
        key
        for key, folders in cones.items()
        if fault.folder in folders and (fault.of_receipt or not key.startswith(f"{COSTS}."))
    ]


def rounded(numbers: dict[str, Any]) -> str:
    """The text of a file of numbers, as the study's own job writes it."""
    return json.dumps(numbers, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _whole(ledger: Ledger, odd: list[str]) -> list[Fault]:
    """The file of numbers, without the costs that publishing adds, is byte for byte what its job wrote."""
    folder = f"{ledger.home}/{NUMBERS}"
    path = f"{folder}/numbers.json"
    expected = outputs(ledger, folder).get(path)
    own = {key: entry for key, entry in ledger.numbers.items() if not key.startswith(f"{COSTS}.")}
    shown = ledger.shown(ledger.numbers_path())
    if not ledger.numbers:
        return []
    if expected is None:
        where = ledger.shown(ledger.receipt_path(folder))
        return [Fault(where, f"no receipt says what {shown} holds", folder, True)]
    digest = hashlib.sha256(rounded(own).encode()).hexdigest()
    if digest == expected:
        return []
    if odd:
        return [
            Fault(
                f"{shown}: {key}",
                f"is not in {ledger.numbers[key]['source']} (edited or exchanged)",
                folder,
                True,
                (key,),
            )
            for key in odd
        ]
    return [Fault(shown, "is not what its job wrote (a number was edited, added or removed)", folder, True)]


def _origin(ledger: Ledger, entry: dict[str, Any]) -> str | None:
    """What is wrong with the source and the receipt that a number names."""
    source, named = entry["source"], entry["receipt"]
    folder = parent(source)
    if folder not in ledger.receipts:  # where a job read it, that link is broken already
        read = any(item["path"] == source for job in ledger.receipts.values() for item in job["inputs"])
        return None if read else f"its source {source} has no receipt"
    if source not in outputs(ledger, folder):
        return f"its source {source} is not among the outputs in the receipt beside it"
    if named == ledger.receipts[folder]["id"]:
        return None
    gathered = ledger.receipts.get(f"{ledger.home}/{NUMBERS}", {"inputs": []})["inputs"]
    same = outputs(ledger, folder)[source]
    if any((i["path"], i.get("receipt"), i["sha256"]) == (source, named, same) for i in gathered):
        return None  # the job was run again since and wrote the same bytes
    return f"names the receipt {named[:12]}, but {source} was made by {ledger.receipts[folder]['id'][:12]}"


def _metric(ledger: Ledger, source: str) -> Any:
    """The metric file: the copy that was published, or that in results/<study>; None where it is absent or damaged."""
    if "*" in source or not source.startswith(f"{ledger.home}/"):
        return None
    for path in filter(None, (ledger.copy(source), ledger.root / source)):
        digest = outputs(ledger, parent(source)).get(source)
        if path.is_file() and (not ledger.published or receipt.sha256(path) == digest):
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return None
    return None


def _place(ledger: Ledger, key: str, entry: dict[str, Any], metric: Leaves) -> str | None:
    """Where a number stands: the keys in its metric file, or the two values whose difference it is."""
    family, method, *rest = key.split(".")
    if family == "lds_difference":
        return _difference(ledger, method, rest, entry["value"])
    words = {word.removeprefix("k") if word[1:].isdigit() else word for word in (method, *rest)}
    needed = words & metric.words
    leaves = [leaf for leaf in metric.leaves if needed.issubset(leaf[0])]
    if family in ("lds", "damping"):
        ends = {"lds": ("lds", "ceiling"), "damping": ("selected_damping", "damping")}[family]
        by_default = method.endswith("_default")
        leaves = [leaf for leaf in leaves if leaf[0][-1] in ends and ("default" in leaf[0]) == by_default]
    same = [path for path, value, beside in leaves if value == entry["value"] and entry["interval"] in (None, beside)]
    if same:
        return ".".join(min(same, key=len))
    scores = [(path, value) for path, value, _ in leaves if path[-1] == "lds"] if family == "lds_tuning" else []
    for path, value in scores:
        for other, less in scores:
            if value - less == entry["value"]:
                return f"{'.'.join(path)} - {'.'.join(other)}"
    return None


def _difference(ledger: Ledger, pair: str, rest: list[str], value: float) -> str | None:
    """The scores of two methods, `<first>_<second>`, whose difference a number is."""
    for first, second in _splits(pair):
        a, b = (".".join(["lds", method, *rest]) for method in (first, second))
        known = a in ledger.numbers and b in ledger.numbers
        if known and ledger.numbers[a]["value"] - ledger.numbers[b]["value"] == value:
            return f"{a} - {b}"
    return None


def _splits(words: str) -> list[tuple[str, str]]:
    return [(words[:at], words[at + 1 :]) for at, letter in enumerate(words) if letter == "_"]


def _leaves(
    value: Any, path: tuple[str, ...] = (), interval: Any = None
) -> Iterator[tuple[tuple[str, ...], float, Any]]:
    """Every number in a metric file with its keys and the interval that stands beside it (null where there is none)."""
    if isinstance(value, dict):
        beside = value.get("interval")
        for name, item in value.items():
            if name not in ("interval", "n"):
                yield from _leaves(item, (*path, name), beside)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _leaves(item, (*path, str(at)), interval)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value, interval


def _cost(ledger: Ledger, key: str) -> list[str]:
    """What is wrong with a cost: it is the sum over receipts that it says it is."""
    entry = ledger.numbers[key]
    if key == OVERHEAD:
        return _overhead(ledger, entry)
    step = key.split(".")[1]
    spent = [item["run"]["seconds"] for item in ledger.receipts.values() if item["step"] == step]
    if not math.isclose(sum(spent), entry["value"], rel_tol=1e-9, abs_tol=1e-9) or entry["n"] != {"jobs": len(spent)}:
        summed = f"the receipts of {step} sum to {sum(spent):g} s of {len(spent)} jobs"
        return [f"{entry['value']:g} s of {entry['n']}, but {summed}"]
    return []


def _overhead(ledger: Ledger, entry: dict[str, Any]) -> list[str]:
    path: Path = ledger.shelf / WALLS
    if not path.is_file():
        return []
    try:
        walls = [float(value) for value in json.loads(path.read_text(encoding="utf-8")).values()]
        share = 1 - sum(item["run"]["seconds"] for item in ledger.receipts.values()) / sum(walls)
    except (ValueError, TypeError, AttributeError, ZeroDivisionError):
        return [f"{ledger.shown(path)} is damaged"]
    if not math.isclose(share, entry["value"], rel_tol=1e-9, abs_tol=1e-9):
        return [f"{entry['value']:g}, but the receipts and {WALLS} give {share:g}"]
    return []
