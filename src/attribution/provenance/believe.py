"""Which finished jobs are believed: told to Snakemake before each plan, which then decides what runs.

Snakemake compares times, and what it wrote down of a job itself. It takes files without a record for finished, enters
a job that failed as if it had run, does not miss an intermediate file, and knows nothing of a folder that was copied.
So the receipts are asked. A job is believed if

- its receipt is whole, and lies in the folder that it names;
- each of its outputs that is there has the bytes that its receipt lists;
- each of its inputs has, now, the bytes that it read: as the receipt of the job that makes it lists them (the file may
  have been deleted to save space, that receipt not), or as they are in the tree.

A job that is not believed runs again, by Snakemake's own mark of incomplete outputs. Of one that is, Snakemake's record
says what the receipt says: spec, code with the command, lock and inputs, so that Snakemake sees what differs from them
now. A record that says anything else is replaced, unless code or lock are others now: then the job runs again.

Only studies that no run is making now are looked at.
"""

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.provenance.hashes import Hashes
from attribution.provenance.ledger import PUBLISHED, shaped
from attribution.workflow import exclusive, fingerprint, identity
from attribution.workflow.spec import canonical, lock_hash

RECORDS, MARKS = Path(".snakemake", "metadata"), Path(".snakemake", "incomplete")
KEPT = Path(".snakemake", "attribution", "hashes")
APART = ("logs", "tracking")  # folders of a study that are no jobs
VERSION = 6  # of Snakemake's records, RECORD_FORMAT_VERSION
COMPARED = ("record_format_version", "params", "input", "input_checksums")  # of a record, by Snakemake
NAME_MAX = 254  # of a name in a folder of records, less the @


def believe(root: Path, studies: Iterable[str]) -> None:
    """Mark and enter as described above. Raises StudyError where .snakemake cannot be written."""
    for study in studies:
        if (root / "results" / study).is_dir() and exclusive.idle(root, study):
            try:
                for folder, names, entry, doubt in _jobs(root, study):
                    paths = [folder / name for name in names]
                    if doubt or not _enter(root, entry, paths):
                        _mark(root, paths)
            except OSError as error:
                raise StudyError(f"{error.filename}: cannot be written ({error.strerror})") from error


def doubts(root: Path, study: str) -> dict[str, str]:
    """Why jobs are not believed, by their folders."""
    return {receipt.relative(folder, root): doubt for folder, _, _, doubt in _jobs(root, study) if doubt}


def ready(root: Path, studies: Iterable[str]) -> None:
    """See to it that the studies' folders can be written, and give files that lie in the future the present time.

    Snakemake fails a job whose outputs are older than its inputs, which until then all would be. Raises StudyError
    where a folder cannot be written.
    """
    now = time.time()
    for home in (root / "results" / study for study in studies):
        try:
            home.mkdir(parents=True, exist_ok=True)
            if not os.access(home, os.W_OK | os.X_OK):
                raise StudyError(f"{home}: cannot be written (read-only)")
            for path in (folder / name for folder, names in _folders(home) for name in names):
                if path.stat().st_mtime > now:
                    os.utime(path)
        except OSError as error:
            raise StudyError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _jobs(root: Path, study: str) -> list[tuple[Path, list[str], dict[str, Any] | None, str | None]]:
    """Each folder of a job, the names of its files, its receipt, and why it is not believed, None where it is."""
    digest = Hashes(root / KEPT / study)
    found = [(folder, names, *_receipt(root, folder)) for folder, names in _folders(root / "results" / study)]
    made = {item["path"]: item["sha256"] for _, _, entry, _ in found if entry for item in entry["outputs"]}
    judged = [
        (folder, names, entry, doubt or _changed(root, entry, made, digest)) for folder, names, entry, doubt in found
    ]
    digest.keep()
    return judged


def _receipt(root: Path, folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The receipt in a folder, or why there is none to believe."""
    try:
        entry = shaped(json.loads((folder / receipt.NAME).read_text(encoding="utf-8")))
        sealed = entry.get("seal") == receipt.seal(entry)
    except FileNotFoundError:
        return None, "has no receipt: it did not finish, or its receipt was deleted"
    except (OSError, ValueError, StudyError):
        return None, "its receipt is damaged"
    if not sealed:
        return None, "its receipt was edited"
    if {Path(item["path"]).parent for item in entry["outputs"]} != {Path(receipt.relative(folder, root))}:
        return None, "its receipt is that of another folder: the files were copied, or the folder renamed"
    return entry, None


def _changed(root: Path, entry: dict[str, Any], made: dict[str, str], digest: Hashes) -> str | None:
    """What has other bytes now than the receipt lists."""
    for item in entry["outputs"]:
        if digest(root / item["path"]) not in (None, item["sha256"]):
            return f"{item['path']} has other bytes than the job wrote"
    for item in entry["inputs"]:
        path = Path(item["path"])
        ours = path.parts[0] == "results" and not path.is_relative_to(PUBLISHED)
        if (made.get(item["path"]) if ours else digest(root / path)) != item["sha256"]:
            return f"{path} has other bytes than it read, or no receipt"
    return None


def _folders(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders of a study that jobs write, each with the names of its files; hidden ones are being written."""
    for place, inner, names in os.walk(home):
        folder = Path(place)
        inner[:] = sorted(name for name in inner if not (folder == home and name in APART))
        shown = sorted(name for name in names if not name.startswith("."))
        if shown and folder != home:
            yield folder, shown


def _mark(root: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        mark = _place(root, MARKS, path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            mark.write_text('{"external_jobid": null}')


def _enter(root: Path, entry: dict[str, Any], present: Iterable[Path]) -> bool:
    """See to it that Snakemake's records of a job are what its receipt says, and that nothing is marked.

    False, and nothing is written, where a record is to be written and the job's code or lock are others now.
    """
    code, lock = entry["code"]["hash"], entry["environment"]["lock"]["hash"]
    content = {
        "record_format_version": VERSION,
        "params": sorted(map(repr, (canonical(entry["spec"]), code, lock))),
        "input": sorted(item["path"] for item in entry["inputs"]),
        "input_checksums": {item["path"]: f"sha256:{item['sha256']}" for item in entry["inputs"]},
    }
    listed = [Path(root, item["path"]) for item in entry["outputs"]]
    paths = [*listed, listed[0].with_name(receipt.NAME)]
    others = [record for path in paths if _compared(record := _place(root, RECORDS, path)) != content]
    if others and (code, lock) != _now(entry):
        return False
    ended = paths[-1].stat().st_mtime
    more = {"rule": entry["step"], "job_hash": int(entry["id"][:12], 16), "incomplete": False}
    more |= {"starttime": ended - entry["run"]["seconds"], "endtime": ended}
    for record in others:
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_name(f"@{os.getpid()}.part")
        part.write_text(json.dumps(content | more))
        part.replace(record)
    for path in {*paths, *present}:
        _place(root, MARKS, path).unlink(missing_ok=True)
    return True


def _compared(record: Path) -> dict[str, Any] | None:
    """What Snakemake compares of a record; None where there is none, or a damaged one."""
    try:
        found = json.loads(record.read_text())
        return {key: found[key] for key in COMPARED}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _now(entry: dict[str, Any]) -> tuple[str, str] | None:
    """The hashes of a job's code and of the lock now; None where the code cannot be read."""
    try:
        method = entry["spec"].get("job", {}).get("method")
        return identity.code_hash(entry["step"], method), lock_hash(fingerprint.SOURCE.parent)
    except StudyError:
        return None


def _place(root: Path, kind: Path, path: Path) -> Path:
    """Snakemake's file about an output: its path in base64, in folders of @ where that is too long for a name."""
    base = root / kind
    text = urlsafe_b64encode(receipt.relative(path, root).encode()).decode()
    pieces = [text[at : at + NAME_MAX] for at in range(0, len(text), NAME_MAX)]
    return base.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
