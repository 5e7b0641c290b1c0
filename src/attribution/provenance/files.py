"""The files of a study against their receipts: re-hashed where they are here, named where they are not.

A published study is looked at twice: the copies in its folder, which must be there, and results/<study>, which may be
absent, or hold another run of the study than the one published. That is said, and its files are not compared.
"""

import json
from pathlib import Path

from attribution.provenance import receipt
from attribution.provenance.chain import outputs
from attribution.provenance.ledger import COPIES, Fault, Ledger

SAME, ABSENT, OTHER, BROKEN = "same", "absent", "another run", "broken"
DAMAGED = "does not match its receipt (truncated, edited or exchanged)"
SKIPPED = ("logs", "tracking")  # of a study's folders: what is no job


def states(ledger: Ledger, hashed: bool = True) -> tuple[dict[str, str], list[Fault]]:
    """State of every output that a receipt lists, by its path, and the faults found; without `hashed` only copies that
    were published are read.
    """
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for folder in ledger.receipts:
        for path, digest in outputs(ledger, folder).items():
            if not path.startswith(f"{ledger.home}/"):
                continue
            state, broken = _copy(ledger, folder, path, digest)
            if hashed or not ledger.published:
                local, more = _local(ledger, folder, path, digest) if hashed else (ABSENT, [])
                broken += more
                state = local if state == ABSENT or local == BROKEN else state
            found[path] = state
            faults += broken
    faults += _without_receipt(ledger) if hashed else []
    return found, faults + _unlisted(ledger)


def _copy(ledger: Ledger, folder: str, path: str, digest: str) -> tuple[str, list[Fault]]:
    """The published copy of an output. Tables and figures are always published, of metrics those that gave numbers."""
    copy = ledger.copy(path)
    if copy is None:
        return ABSENT, []
    if not copy.is_file():
        expected = copy.parent.name in COPIES.values() and copy.parent.parent == ledger.shelf
        return ABSENT, [Fault(ledger.shown(copy), "missing, though its receipt lists it", folder)] if expected else []
    if receipt.sha256(copy) != digest:
        return BROKEN, [Fault(ledger.shown(copy), DAMAGED, folder)]
    return SAME, []


def _local(ledger: Ledger, folder: str, path: str, digest: str) -> tuple[str, list[Fault]]:
    """The file in results/<study>."""
    file = ledger.root / path
    if not file.is_file():
        return ABSENT, []
    size = next(item.get("bytes") for item in ledger.receipts[folder]["outputs"] if item["path"] == path)
    found = "" if size is not None and size != file.stat().st_size else receipt.sha256(file)
    if found == digest:
        return SAME, []
    if ledger.published and _of_another_run(ledger, folder, path):
        return OTHER, []
    return BROKEN, [Fault(path, DAMAGED, folder)]


def _of_another_run(ledger: Ledger, folder: str, path: str) -> bool:
    """Whether the receipt in results/<study> is another one than that published, and vouches for the file."""
    try:
        here = json.loads((ledger.root / folder / receipt.NAME).read_text(encoding="utf-8"))
        listed = {item["path"]: item["sha256"] for item in here["outputs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    sealed = "seal" not in here or here["seal"] == receipt.seal(here)
    return here != ledger.receipts[folder] and sealed and receipt.sha256(ledger.root / path) == listed.get(path)


def _without_receipt(ledger: Ledger) -> list[Fault]:
    """Folders of results/<study> that hold files but no receipt."""
    home, found = ledger.root / ledger.home, []
    for place in sorted(home.glob("**")) if home.is_dir() else []:
        inner = place.relative_to(home).parts
        if not inner or inner[0] in SKIPPED or (place / receipt.NAME).is_file():
            continue
        if any(path.is_file() and not path.name.startswith(".") for path in place.iterdir()):
            folder = ledger.shown(place)
            what = "missing beside the files of its job, which did not finish, or its receipt was deleted"
            found.append(Fault(f"{folder}/{receipt.NAME}", what, folder, True))
    return found


def _unlisted(ledger: Ledger) -> list[Fault]:
    """Published tables, figures and metrics that no receipt lists."""
    if not ledger.published:
        return []
    known = {copy for folder in ledger.receipts for path in outputs(ledger, folder) if (copy := ledger.copy(path))}
    return [
        Fault(ledger.shown(path), "no receipt lists it", f"{ledger.home}/summary")
        for place in (*COPIES.values(), "metrics")
        for path in sorted((ledger.shelf / place).rglob("*"))
        if path.is_file() and path not in known
    ]


def kinds(paths: list[str], home: str) -> str:
    """Paths in few words: how many of each kind of job, `models (12), scores (40)`."""
    counts: dict[str, int] = {}
    for path in paths:
        kind = Path(path).relative_to(home).parts[0]
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))
