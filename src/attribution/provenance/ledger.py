"""The receipts of one study, as its results folder holds them or as they were published, and where its files lie.

A folder `results/<study>/<kind>/<who>` is one job; in a ledger it stands by that path, be its receipt read there
(local) or from the copies in `results/published/<study>/receipts` (published). What cannot be read is a fault, not an
error: an auditor names what is broken and goes on.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import receipt

PUBLISHED = Path("results", "published")
NUMBERS = "summary/numbers"
SUMMARY = (NUMBERS, "summary/tables", "summary/figures")  # what a study ends in
COPIES = {"summary/tables": "tables", "summary/figures": "figures"}  # folder of the study -> folder published
SHAPE = {  # of a receipt: what an audit reads of it
    "format": int,
    "step": str,
    "id": str,
    "spec": dict,
    "code": dict,
    "inputs": list,
    "outputs": list,
    "environment": dict,
    "run": dict,
}


@dataclass(frozen=True)
class Fault:
    """A broken link. `where`: the file; `folder`: its job; `numbers`: those it spoils, where they are known exactly.

    A fault of a receipt, unlike one of a file, spoils the costs too, which are summed over receipts.
    """

    where: str
    what: str
    folder: str
    of_receipt: bool = False
    numbers: tuple[str, ...] | None = None


@dataclass
class Ledger:
    """Receipts by job folder, numbers by id, and what could not be read of them."""

    root: Path
    study: str
    published: bool
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def home(self) -> str:
        """results/<study>, the root of the paths in receipts."""
        return f"results/{self.study}"

    @cached_property
    def sources(self) -> set[str]:
        """The folders of the jobs that numbers come from."""
        return {PurePosixPath(entry["source"]).parent.as_posix() for entry in self.numbers.values()}

    @property
    def shelf(self) -> Path:
        """The folder that the ledger was read from."""
        return self.root / PUBLISHED / self.study if self.published else self.root / self.home

    def receipt_path(self, folder: str) -> Path:
        """The file that the folder's receipt is read from."""
        inner = Path(folder).relative_to(self.home)
        return (self.shelf / "receipts" / inner if self.published else self.root / folder) / receipt.NAME

    def shown(self, path: Path) -> str:
        """A path as messages name it: from the root."""
        return receipt.relative(path, self.root)

    def copy(self, path: str) -> Path | None:
        """Where a published study keeps its copy of an output; None where it keeps none."""
        inner = PurePosixPath(path).relative_to(self.home)
        if not self.published or inner.as_posix() == f"{NUMBERS}/numbers.json":
            return None
        place = COPIES.get(inner.parent.as_posix())
        return self.shelf / place / inner.name if place else self.shelf / "metrics" / inner

    def numbers_path(self) -> Path:
        """The file that holds the numbers."""
        return self.shelf / "numbers.json" if self.published else self.shelf / NUMBERS / "numbers.json"


def is_published(root: Path, study: str) -> bool:
    """Whether the study's numbers stand in results/published."""
    return (root / PUBLISHED / study / "numbers.json").is_file()


def published_studies(root: Path) -> list[str]:
    """Every study with a folder of receipts or numbers in results/published."""
    places = {
        path.parent.name for name in ("receipts", "numbers.json") for path in (root / PUBLISHED).glob(f"*/{name}")
    }
    return sorted(places)


def load(root: Path, study: str, published: bool) -> Ledger:
    """Read all receipts and numbers of a study. Raises StudyError where there is nothing of it."""
    ledger = Ledger(root, study, published)
    base = ledger.shelf / "receipts" if published else ledger.shelf
    if not base.is_dir():
        hint = "" if published else f"; run: snakemake --cores all {study}"
        raise StudyError(f"{ledger.shown(base)}: no such study here{hint}")
    for path in sorted(base.glob(f"**/{receipt.NAME}")):
        folder = f"{ledger.home}/{path.parent.relative_to(base).as_posix()}"
        try:
            entry = shaped(json.loads(path.read_text(encoding="utf-8")))
            if strays := [item["path"] for item in entry["outputs"] if not _lies_in(item["path"], folder)]:
                raise ValueError(f"of another job: it lies in another folder than its output {strays[0]}")
            ledger.receipts[folder] = entry
        except (OSError, ValueError) as error:
            what = f"unreadable or damaged ({' '.join(str(error).split())[:100]})"
            ledger.faults.append(Fault(ledger.shown(path), what, folder, True))
    _read_numbers(ledger)
    return ledger


def shaped(entry: Any) -> dict[str, Any]:
    """The receipt, if it has what an audit reads. Raises ValueError naming what it lacks."""
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    for key, kind in SHAPE.items():
        if not isinstance(entry.get(key), kind):
            raise ValueError(f"no {key}")
    if entry["format"] != receipt.FORMAT:
        raise ValueError(f"format {entry['format']}, this version reads {receipt.FORMAT}")
    for items, keys in ((entry["inputs"], ("name", "path", "sha256")), (entry["outputs"], ("path", "sha256", "class"))):
        for item in items:
            if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in keys):
                raise ValueError("an input or output lacks its path or hash")
    if not isinstance(entry["code"].get("hash"), str) or not isinstance(entry["code"].get("modules"), dict):
        raise ValueError("no hash of the code")
    if not isinstance(entry["environment"].get("lock"), dict) or "hash" not in entry["environment"]["lock"]:
        raise ValueError("no hash of the lock")
    if not isinstance(entry["run"].get("seconds"), int | float):
        raise ValueError("no seconds")
    return entry


def _read_numbers(ledger: Ledger) -> None:
    path, folder = ledger.numbers_path(), f"{ledger.home}/{NUMBERS}"
    if not path.exists() and not ledger.published:
        return  # an unfinished study has no numbers yet
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not numbers by their ids")
        if odd := [key for key, entry in found.items() if "." not in key or not _is_number(entry)]:
            raise ValueError(f"{odd[0]} is no number")
        ledger.numbers = found
    except (OSError, ValueError) as error:
        what = f"unreadable or damaged ({' '.join(str(error).split())[:100]})"
        ledger.faults.append(Fault(ledger.shown(path), what, folder, True))


def _lies_in(path: str, folder: str) -> bool:
    return PurePosixPath(path).parent.as_posix() == folder


def _is_number(entry: Any) -> bool:
    texts = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("source", "receipt", "unit"))
    return texts and isinstance(entry.get("value"), int | float)
