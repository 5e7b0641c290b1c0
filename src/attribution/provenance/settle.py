"""What a killed run or a wrong clock left behind, put in order before a plan is made.

Snakemake marks the outputs of a job after it started it, forgets the marks of a failed job before it deletes its files,
and compares times. So a run killed at a bad moment leaves files that it takes for finished, and a clock that was wrong
hides that a file is newer. The receipts know better, and each plan begins by holding the results against them:

- files without a receipt beside them belong to a job that did not finish: it runs again;
- a job whose inputs were since made anew, with other bytes, runs again, whatever the times are;
- a job that finished without Snakemake, whose run was killed, is entered in Snakemake's records as its receipt says,
  and is no longer marked as incomplete.

Only studies that no run is making now are looked at. A job runs again by Snakemake's own mark of incomplete outputs.
"""

import hashlib
import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.provenance.ledger import shaped
from attribution.workflow import exclusive
from attribution.workflow.spec import canonical

RECORDS, MARKS = Path(".snakemake", "metadata"), Path(".snakemake", "incomplete")
SETTLED = Path(".snakemake", "attribution", "settled")
APART = ("logs", "tracking")  # folders of a study that are no jobs
VERSION = 6  # of Snakemake's records, RECORD_FORMAT_VERSION
NAME_MAX = 254  # of a name in a folder of records, less the @


def settle(root: Path, studies: Iterable[str]) -> None:
    """Mark and enter what is described above. Raises StudyError where .snakemake cannot be written."""
    for study in studies:
        if (root / "results" / study).is_dir() and exclusive.idle(root, study):
            try:
                _settle(root, study)
            except OSError as error:
                raise StudyError(f"{error.filename}: cannot be written ({error.strerror})") from error


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


def _settle(root: Path, study: str) -> None:
    finished = {}
    for folder, names in _folders(root / "results" / study):
        try:
            finished[folder] = shaped(json.loads((folder / receipt.NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # none, or damaged
            _mark(root, [folder / name for name in names])
    state = root / SETTLED / study
    digest = _digest(root, finished)
    if state.is_file() and state.read_text() == digest:
        return
    made = {item["path"]: item["sha256"] for entry in finished.values() for item in entry["outputs"]}
    for folder, entry in finished.items():
        outputs = [root / item["path"] for item in entry["outputs"]] + [folder / receipt.NAME]
        if any(made.get(item["path"], item["sha256"]) != item["sha256"] for item in entry["inputs"]):
            _mark(root, outputs)
        else:
            _enter(root, entry, outputs)
            for path in outputs:
                _place(root, MARKS, path).unlink(missing_ok=True)
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(_digest(root, finished))


def _folders(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders of a study that jobs write, each with the names of its files; hidden ones are being written."""
    for place, inner, names in os.walk(home):
        folder = Path(place)
        inner[:] = sorted(name for name in inner if not (folder == home and name in APART))
        shown = sorted(name for name in names if not name.startswith("."))
        if shown and folder != home:
            yield folder, shown


def _digest(root: Path, finished: Iterable[Path]) -> str:
    """Of size and time of receipts and their records: where it is as it was, all has been looked at."""
    found = hashlib.sha256()
    for folder in finished:
        path = folder / receipt.NAME
        for file in (path, _place(root, RECORDS, path)):
            state = file.stat() if file.exists() else None
            found.update(f"{file} {state and (state.st_size, state.st_mtime_ns)}\n".encode())
    return found.hexdigest()


def _mark(root: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        mark = _place(root, MARKS, path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            mark.write_text('{"external_jobid": null}')


def _enter(root: Path, entry: dict[str, Any], outputs: Sequence[Path]) -> None:
    """Write Snakemake's record of a job where there is none, or that of a job with another identity."""
    values = (canonical(entry["spec"]), entry["code"]["hash"], entry["environment"]["lock"]["hash"])
    params = sorted(map(repr, values))
    ended = outputs[-1].stat().st_mtime  # of the receipt
    for path in outputs:
        record = _place(root, RECORDS, path)
        if _params(record) == params:
            continue
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_name(f"@{os.getpid()}.part")
        content = {
            "rule": entry["step"],
            "input": sorted(item["path"] for item in entry["inputs"]),
            "input_checksums": {item["path"]: f"sha256:{item['sha256']}" for item in entry["inputs"]},
            "params": params,
            "record_format_version": VERSION,
            "job_hash": int(entry["id"][:12], 16),
            "starttime": ended - entry["run"]["seconds"],
            "endtime": ended,
            "incomplete": False,
        }
        part.write_text(json.dumps(content))
        part.replace(record)


def _params(record: Path) -> list[str] | None:
    try:
        return json.loads(record.read_text())["params"]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _place(root: Path, kind: Path, path: Path) -> Path:
    """Snakemake's file about an output: its path in base64, in folders of @ where that is too long for a name."""
    base = root / kind
    text = urlsafe_b64encode(receipt.relative(path, root).encode()).decode()
    pieces = [text[at : at + NAME_MAX] for at in range(0, len(text), NAME_MAX)]
    return base.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
