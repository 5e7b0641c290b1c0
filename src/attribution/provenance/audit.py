"""One audit: a study's receipts, files and numbers held against each other, and what was found, as text and as JSON.

Levels. Chain: what git holds, published receipts, metric files, tables and numbers. Files: the artifacts in results/,
re-hashed where they are. Execution: some jobs run again (audit.rerun). Each level says what it did not see.
"""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attribution.provenance import chain, files, page_marks, since, sums, values
from attribution.provenance.ledger import NUMBERS, Fault, Ledger, load

WIDTH = 118


@dataclass
class Audit:
    """What was found in a study. `states`: of each file that a receipt lists; `places`: of each number in its file."""

    ledger: Ledger
    hashed: bool
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """How deep it went."""
        here = self.hashed and (not self.ledger.published or (self.ledger.root / self.ledger.home).is_dir())
        return "chain and local files" if here else "chain only"

    def spoiled(self) -> list[tuple[Fault, list[str]]]:
        """Each fault with the numbers below it."""
        cones = values.cones(self.ledger) if self.faults else {}
        return [(fault, values.below(self.ledger, fault, cones)) for fault in self.faults]


def none(_root: Path, _name: str, _numbers: dict[str, Any]) -> None:
    """No table is made anew."""


def audit(root: Path, study: str, published: bool, hashed: bool = True, made: page_marks.Made = none) -> Audit:
    """Hold a study against its receipts. Raises StudyError where there is no such study.

    `made` makes the tables of pages that no study publishes as files.
    """
    ledger = load(root, study, published)
    found = Audit(ledger, hashed)
    links, found.notes = chain.inspect(ledger)
    found.states, broken = files.states(ledger, hashed)
    counted, found.places = values.inspect(ledger)
    listed = sums.check(ledger) if published else []
    if any(fault.numbers for fault in counted):  # the numbers are named: the file that holds them need not be
        listed = [fault for fault in listed if fault.where != ledger.shown(ledger.numbers_path())]
    marked = page_marks.check(root, study, ledger.numbers, made) if published else []
    own = [fault for fault in counted if fault.numbers and not all(map(values.is_cost, fault.numbers))]
    rest = [fault for fault in counted if fault not in own]  # costs, which a receipt that was edited changes
    paged = [Fault(where, what, "", True, of) for where, what, of in marked]
    faults = [
        *own,
        *ledger.faults,
        *broken,
        *links,
        *rest,
        *listed,
        *paged,
    ]  # what was edited first, then what it breaks
    found.faults, left = _of_the_study(ledger, faults)
    found.notes += [*left, *since.notes(ledger)]
    return found


def _of_the_study(ledger: Ledger, faults: list[Fault]) -> tuple[list[Fault], list[str]]:
    """Faults, one for each file and job, the first, which says most; a note in place of those of jobs left behind."""
    once: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        once.setdefault((fault.where, fault.folder), fault)
    counted, faults = chain.current(ledger), list(once.values())
    idle = set(ledger.receipts) - counted
    idle |= {
        f.folder
        for f in faults
        if f.folder and f.folder not in counted and not f.folder.startswith(f"{ledger.home}/summary")
    }
    if f"{ledger.home}/{NUMBERS}" not in ledger.receipts:
        idle = set()
    notes = [f"{len(idle)} job folders are no part of the study now, first: {min(idle)}"] if idle else []
    return [fault for fault in faults if fault.folder not in idle], notes


def text(found: Audit) -> str:
    """What an audit of a whole study found, in lines."""
    ledger = found.ledger
    place = "published" if ledger.published else f"{ledger.home}, not published"
    seen = {state: [path for path, it in found.states.items() if it == state] for state in set(found.states.values())}
    counts = f"{len(ledger.numbers)} numbers, {len(ledger.receipts)} receipts, {len(found.states)} files"
    lines = [f"{ledger.study} ({place}): {counts}"]
    lines.append(f"  level: {found.level}")
    for state, said in (
        (files.SAME, "re-hashed, as their receipts say"),
        (files.OTHER, "here are of another run, not compared"),
    ):
        if seen.get(state):
            lines.append(f"  files: {len(seen[state])} {said}: {files.kinds(seen[state], ledger.home)}")
    if seen.get(files.ABSENT):
        lines.append(f"  files: {len(seen[files.ABSENT])} absent here: {files.kinds(seen[files.ABSENT], ledger.home)}")
    lines.append(f"  numbers: {_measured(found)}")
    lines += [f"  note: {note}" for note in _grouped(found.notes)]
    for fault, numbers in found.spoiled():
        lines.append(f"  BROKEN {fault.where}: {fault.what}")
        said = f"{len(numbers)} numbers below it" + (f": {', '.join(numbers)}" if numbers else "")
        lines += textwrap.wrap(said, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def record(found: Audit) -> dict[str, Any]:
    """The same for machines."""
    return {
        "study": found.ledger.study,
        "published": found.ledger.published,
        "level": found.level,
        "ok": not found.faults,
        "numbers": len(found.ledger.numbers),
        "placed": len(found.places),
        "receipts": len(found.ledger.receipts),
        "files": dict(sorted(found.states.items())),
        "broken": [
            {"where": fault.where, "what": fault.what, "numbers": numbers} for fault, numbers in found.spoiled()
        ],
        "notes": found.notes,
    }


def _measured(found: Audit) -> str:
    """How many numbers stand where their pointers lead."""
    costs = sum(map(values.is_cost, found.ledger.numbers))
    left = len(found.ledger.numbers) - len(found.places)
    said = f"{len(found.places) - costs} in their metric files, {costs} as sums over receipts"
    return f"{f'all but {left}' if left else 'all'} placed: {said}"


def _grouped(notes: list[str]) -> list[str]:
    """Notes, the many of one kind as one line."""
    older = [note for note in notes if "the file's sha256 is followed" in note]
    if len(older) < 4:
        return notes
    rest = [note for note in notes if note not in older]
    said = f"{len(older)} inputs were read under an older id of their job, which wrote the same bytes again"
    return [*rest, f"{said}; first: {older[0]}"]
