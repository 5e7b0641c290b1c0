"""What has changed in this checkout since a study ran: its config, and the code of its jobs. Worth a note, no fault.

Results stay what their receipts say; but what the checkout would compute now may be something else.
"""

from pathlib import Path

from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.provenance.ledger import Ledger
from attribution.workflow import fingerprint


def notes(ledger: Ledger) -> list[str]:
    """One line for the modules that differ from those that receipts name, one for the config of each other commit."""
    source = ledger.root / "src"
    if not source.is_dir():
        return []
    seen = {pair for entry in ledger.receipts.values() for pair in entry["code"]["modules"].items()}
    commands = fingerprint.command_hashes(ledger.root)
    other = {(name, code) for name, code in seen if (commands.get(name) or _hash(source, name)) != code}
    found = []
    if other:
        jobs = sum(not other.isdisjoint(entry["code"]["modules"].items()) for entry in ledger.receipts.values())
        names = sorted({name for name, _ in other})
        found.append(f"code: {len(names)} modules are not as {jobs} jobs saw them, first: {names[0]}")
    config = f"config/{ledger.study}.yaml"
    for commit in sorted(
        {str(entry["run"]["commit"]) for entry in ledger.receipts.values() if entry["run"].get("commit")}
    ):
        if receipt.git(ledger.root, "diff", "--name-only", commit, "--", config):
            found.append(f"{config}: is not as at the commit {commit[:12]}, at which jobs ran")
    return found


def _hash(source: Path, module: str) -> str | None:
    """The hash of a module's code as it is here, of the package's `__init__` where it is one; None where it is gone."""
    base = source.joinpath(*module.split("."))
    path = next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
    try:
        return fingerprint.file_hash(path) if path else None
    except StudyError:
        return None
