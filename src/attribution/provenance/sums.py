"""SHA256SUMS of a published study: one line a file, as `sha256sum -c` reads it.

An output's hash stands in no receipt's id, so a published receipt could be edited where nothing else knows better. This
list, in git beside the files, knows every byte that was published.
"""

from pathlib import Path

from attribution.provenance.ledger import NUMBERS, Fault, Ledger
from attribution.provenance.receipt import sha256

NAME = "SHA256SUMS"


def write(folder: Path) -> None:
    """List every file below a folder but the list itself."""
    listed = {name: sha256(path) for name, path in _files(folder).items()}
    (folder / NAME).write_text(_text(listed), encoding="utf-8")


def check(ledger: Ledger) -> list[Fault]:
    """Every published file that is not as listed, not there, or not listed."""
    folder, found = ledger.shelf, []
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines()) if name}
    except (OSError, ValueError):
        return [
            Fault(
                ledger.shown(folder / NAME),
                "missing or unreadable; publish the study again",
                f"{ledger.home}/{NUMBERS}",
            )
        ]
    if text != _text(listed):
        found.append(Fault(ledger.shown(folder / NAME), "not as it was written", f"{ledger.home}/{NUMBERS}"))
    present = _files(folder)
    for name in sorted(listed.keys() | present.keys()):
        job, of_receipt = _job(ledger, name)
        if name not in present:
            what = f"missing, though {NAME} lists it"
        elif name not in listed:
            what = f"not in {NAME}"
        elif sha256(present[name]) != listed[name]:
            what = f"not what {NAME} says (truncated, edited or exchanged)"
        else:
            continue
        found.append(Fault(ledger.shown(folder / name), what, job, of_receipt))
    return found


def _text(listed: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items()))


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _job(ledger: Ledger, name: str) -> tuple[str, bool]:
    """The job whose receipt or output a published file is, and whether it is the receipt."""
    first, _, rest = name.partition("/")
    if first in ("receipts", "metrics"):
        return f"{ledger.home}/{rest.rpartition('/')[0]}", first == "receipts"
    return f"{ledger.home}/summary/{first if first in ('tables', 'figures') else 'numbers'}", False
