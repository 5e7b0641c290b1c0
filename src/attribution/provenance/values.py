"""Reported numbers against the files they come from: every number of a study is read again where its pointer leads.

The metric files are read by the table of pointers (pointers.py), and every field of every number must be what stands
there; a paired difference must be that of the two scores too, and a cost the sum over receipts. In studies published
before numbers had pointers these follow from the ids, and of a paired difference, which no file held then, the value,
its count and its unit are computed; its interval is held by the hash of the file of numbers alone.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attribution import pointers
from attribution.provenance import receipt
from attribution.provenance.chain import above, outputs, parent
from attribution.provenance.ledger import NUMBERS, Fault, Ledger

COSTS = "cost"
OVERHEAD = "cost.overhead.share"
WALLS = "walls.json"  # of a published study: wall seconds of each job's process
DIFFERENCES = ("lds_difference", "lds_tuning")
Places = dict[str, str]  # number -> where in its metric file it stands
Number = dict[str, Any]


def inspect(ledger: Ledger) -> tuple[list[Fault], Places]:
    """Faults of numbers and of the file that holds them, and the place of each number that was found."""
    metrics, unread, faults = _metrics(ledger)
    read: dict[str, list[Number]] = {}  # id -> what the metric files say it is; several where an id is ambiguous
    for source, (metric, made) in metrics.items():
        try:
            for key, entry in pointers.numbers(source, metric, made):
                read.setdefault(key, []).append(entry)
        except (AttributeError, LookupError, TypeError, ValueError):
            faults.append(Fault(source, "does not hold what a file of that name holds", parent(source)))
    pointed = any("at" in entry for key, entry in ledger.numbers.items() if not is_cost(key))
    places: Places = {}
    mended: dict[str, Number] = {}
    without: list[str] = []  # whose interval no metric file holds
    for key, entry in ledger.numbers.items():
        if is_cost(key):
            faults += [_fault(ledger, key, what) for what in _cost(ledger, key, pointed)]
            places[key] = pointers.RECEIPTS
            continue
        computed = list(_computed(ledger, metrics, key)) if key.split(".")[0] in DIFFERENCES else []
        found = read.get(key, computed)
        if entry["source"] in unread or (not found and unread and key.split(".")[0] in DIFFERENCES):
            mended[key] = entry
            continue
        if not found:
            faults.append(_fault(ledger, key, "is in no metric file of the study (added)"))
            continue
        expected = next((one for one in found if one["value"] == entry["value"]), found[0])
        places[key] = expected["at"]
        what, mended[key] = _unlike(ledger, entry, expected, pointed)
        if what is None and computed and all(one["value"] != entry["value"] for one in computed):
            what = f"is {entry['value']:g}, but {computed[0]['at']} is {computed[0]['value']:g}"
        if what:
            faults.append(_fault(ledger, key, what))
        if "interval" not in expected:
            without.append(key)
    missing = [key for key in read if key not in ledger.numbers and not key.startswith("retrain_difference.")]
    return [*faults, *_whole(ledger, mended, missing, without)], places


def roots(ledger: Ledger, key: str) -> set[str]:
    """The jobs that a number comes from directly: that of its source; of a difference those of the two scores."""
    family, named, *_ = key.split(".")
    if family == COSTS:
        return {folder for folder, entry in ledger.receipts.items() if named in (entry["step"], "overhead")}
    pairs = _splits(named) if family == "lds_difference" else []
    pairs += [(named.removesuffix("_least"),)] if family == "lds_tuning" else []
    jobs = ({f"{ledger.home}/lds/{method}" for method in pair} for pair in pairs)
    return next((both for both in jobs if both <= ledger.sources), {parent(ledger.numbers[key]["source"])})


def cones(ledger: Ledger) -> dict[str, set[str]]:
    """For each number the folders of all jobs that it was made by; of a cost, those whose receipts it sums."""
    known: dict[str, set[str]] = {}
    found = {}
    for key in ledger.numbers:
        start = roots(ledger, key)
        if is_cost(key):
            found[key] = start
            continue
        for folder in start - known.keys():
            known[folder] = above(ledger, {folder})
        found[key] = set().union(*(known[folder] for folder in start))
    return found


def below(ledger: Ledger, fault: Fault, cones: dict[str, set[str]]) -> list[str]:
    """Every number that a fault spoils."""
    if fault.numbers is not None:
        return list(fault.numbers)
    if fault.folder == f"{ledger.home}/{NUMBERS}":
        return list(ledger.numbers)
    return [key for key, folders in cones.items() if fault.folder in folders and (fault.of_receipt or not is_cost(key))]


def rounded(numbers: dict[str, Any]) -> str:
    """The text of a file of numbers, as the study's own job writes it."""
    return json.dumps(numbers, indent=2, sort_keys=True) + "\n"


def is_cost(key: str) -> bool:
    return key.startswith(f"{COSTS}.")


def _fault(ledger: Ledger, key: str, what: str) -> Fault:
    return Fault(f"{ledger.shown(ledger.numbers_path())}: {key}", what, "", True, (key,))


def _metrics(ledger: Ledger) -> tuple[dict[str, tuple[Any, str]], set[str], list[Fault]]:
    """The metric files that the study's numbers were gathered from, each with the receipt of its job; those that could
    not be read; and faults of those that are not published. One that is not as its receipt says is blamed elsewhere.
    """
    folder = f"{ledger.home}/{NUMBERS}"
    if gathered := ledger.receipts.get(folder):
        sources = {item["path"]: item.get("receipt") or "" for item in gathered["inputs"]}
        sources |= dict.fromkeys(outputs(ledger, folder), gathered["id"])
    else:
        sources = {entry["source"]: entry["receipt"] for entry in ledger.numbers.values()}
    metrics, unread, faults = {}, set(), []
    for source, made in sources.items():
        if source.rpartition("/")[2] not in pointers.TABLE or not source.startswith(f"{ledger.home}/"):
            continue
        path = ledger.copy(source) or ledger.root / source
        if not path.is_file() or receipt.sha256(path) != outputs(ledger, parent(source)).get(source):
            unread.add(source)
            if ledger.published and not path.is_file():
                faults.append(Fault(ledger.shown(path), "missing, though numbers were read from it", parent(source)))
            continue
        try:
            metrics[source] = (json.loads(path.read_text(encoding="utf-8")), made)
        except ValueError:
            unread.add(source)
            faults.append(Fault(ledger.shown(path), "is no JSON", parent(source)))
    return metrics, unread, faults


def _computed(ledger: Ledger, metrics: dict[str, tuple[Any, str]], key: str) -> Iterator[Number]:
    """A paired difference by the scores of two methods, or of two dampings of one, without an interval."""
    family, named, *rest = key.split(".")
    if not rest:
        return
    place = f"/targets/{rest[1]}/{rest[0]}" if rest[1:] else f"/kinds/{rest[0]}"
    method = named.removesuffix("_least")
    pairs, less = _splits(named), f"{place}/lds"
    if family == "lds_tuning":
        pairs, less = [(method, method)], f"{place}/{'default' if method == named else 'least'}/lds"
    for pair in pairs:
        one, other = (f"{ledger.home}/lds/{name}/lds.json" for name in pair)
        (metric, made), (second, _) = (metrics.get(source, (None, "")) for source in (one, other))
        a, b = pointers.resolve(metric, f"{place}/lds"), pointers.resolve(second, less)
        if a is None or b is None:
            continue
        at = f"{place}/lds less {less if one == other else f'{other}: {less}'}"
        n = pointers.resolve(metric, f"{place}/n")
        yield {"value": a - b, "n": n, "unit": "correlation", "source": one, "at": at, "receipt": made}


def _unlike(ledger: Ledger, entry: Number, expected: Number, pointed: bool) -> tuple[str | None, Number]:
    """What of a number is not as its metric file says, and the number as it should be."""
    now = ledger.receipts.get(parent(expected["source"]), {}).get("id", "")
    mended = {"interval": entry.get("interval")} | expected
    if entry["receipt"] == now:  # the job was run again since and wrote the same bytes
        mended["receipt"] = now
    where = f"{mended['source']}, {mended['at']}"
    if not pointed:
        del mended["at"]
    odd = [name for name in mended | entry if name not in entry or name not in mended or entry[name] != mended[name]]
    if not odd:
        return None, mended
    name = odd[0]
    if name == "receipt":
        what = f"names the receipt {entry[name][:12]}, but {mended['source']} was made by {now[:12]}"
    else:
        what = f"its {name} is {short(entry.get(name))}, but {short(mended.get(name))} in {where}"
    return what, mended


def short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def _whole(ledger: Ledger, mended: dict[str, Number], missing: list[str], without: list[str]) -> list[Fault]:
    """The file of numbers, costs apart, is byte for byte what its job wrote, once what was blamed is mended."""
    folder, shown = f"{ledger.home}/{NUMBERS}", ledger.shown(ledger.numbers_path())
    expected = outputs(ledger, folder).get(f"{folder}/numbers.json")
    if not ledger.numbers and (expected is None or any(fault.where == shown for fault in ledger.faults)):
        return []  # not there yet, or unreadable, which is said
    if expected is None:
        where = ledger.shown(ledger.receipt_path(folder))
        return [Fault(where, f"no receipt says what {shown} holds", folder, True)]
    own = {key: entry for key, entry in ledger.numbers.items() if not is_cost(key)}
    if any(hashlib.sha256(rounded(of).encode()).hexdigest() == expected for of in (own, mended)):
        return []
    if missing:
        more = f", and {len(missing) - 1} more" if missing[1:] else ""
        return [Fault(f"{shown}: {missing[0]}", f"was removed{more}", "", True, tuple(missing))]
    what = "an interval of a paired difference was edited" if without else "a number was edited or removed"
    return [Fault(shown, f"is not what its job wrote ({what})", folder, True, tuple(without) or None)]


def _splits(words: str) -> list[tuple[str, ...]]:
    return [(words[:at], words[at + 1 :]) for at, letter in enumerate(words) if letter == "_"]


def _cost(ledger: Ledger, key: str, pointed: bool) -> list[str]:
    """What is wrong with a cost: it is the sum over receipts that it says it is."""
    entry = ledger.numbers[key]
    folders = roots(ledger, key)
    spent = sum(ledger.receipts[folder]["run"]["seconds"] for folder in folders)
    value, unit, said = spent, "s", f"the receipts of {key.split('.')[1]} sum to {spent:g} s of {len(folders)} jobs"
    if key == OVERHEAD:
        path: Path = ledger.shelf / WALLS
        try:
            walls = [float(wall) for wall in json.loads(path.read_text(encoding="utf-8")).values()]
            value, unit = 1 - spent / sum(walls), "share"
        except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError):
            return [f"{ledger.shown(path)} is missing or damaged"]
        said = f"the receipts and {WALLS} give {value:g} of {len(folders)} jobs"
    ids = [ledger.receipts[folder]["id"] for folder in folders]
    made = entry["receipt"] if entry["receipt"] in ids else "".join(ids[:1])
    expected = {"interval": None, "n": {"jobs": len(folders)}, "unit": unit, "receipt": made, "value": entry["value"]}
    expected |= {"source": f"{ledger.home}/**/{receipt.NAME}"} | ({"at": pointers.RECEIPTS} if pointed else {})
    if not math.isclose(value, entry["value"], rel_tol=1e-9, abs_tol=1e-9) or entry.get("n") != expected["n"]:
        return [f"{entry['value']:g} {unit} of {entry.get('n')}, but {said}"]
    odd = [name for name in expected | entry if name not in entry or entry[name] != expected.get(name)]
    return [f"its {odd[0]} is {short(entry.get(odd[0]))}, but {short(expected.get(odd[0]))}"] if odd else []
