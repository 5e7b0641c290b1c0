"""One study's receipts and training logs, written into MLflow by one process at a time.

MLflow is for people to look at: nothing reads it back, it may be deleted and made again from the receipts, and no
failure here is a failure of the study. Whatever goes wrong becomes a warning, and the next sync writes what is missing.

Two memories keep a sync short and repeatable. The runs carry the digest of what they were written from, set as the
last tag of a run, so that one which was cut off halfway is written again. A state file beside the local database holds
size and time of the files that were mirrored, so that a sync with nothing to do opens no connection and imports no
mlflow.
"""

import contextlib
import copy
import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.core.store import load_json, save_json
from attribution.errors import StudyError
from attribution.tracking.address import Address, credentials, parse, scrub
from attribution.tracking.records import Job, Record, find, points, read
from attribution.tracking.store import Run, Store, database_of, now, refused

STATE_FORMAT = 1
LOCK_SECONDS = 10.0
CLOCKS_MS = 60_000  # how far the clocks of two machines may be apart


@dataclass(frozen=True)
class Summary:
    """Finished jobs by what became of them, and one line for each thing that went wrong."""

    new: int
    updated: int
    unchanged: int
    warnings: tuple[str, ...]


def sync(root: Path, study: str, uri: str) -> Summary:
    """Mirror the finished jobs of results/<study> under `root` to `uri`, http(s)://... or sqlite:///...

    Never raises: what went wrong is in the warnings.
    """
    address, warnings = parse(uri), []
    try:
        with opened(root, study, address, warnings.append) as mirror:
            mirror.write_finished()
            if not mirror.down:
                mirror.fail_open()
            return Summary(mirror.new, mirror.updated, mirror.unchanged, tuple(warnings))
    except Exception as error:  # the promise above, whatever mlflow, a disk or a network comes up with
        return Summary(0, 0, 0, (*warnings, scrub(f"{study}: not mirrored: {error}", address)))


@contextlib.contextmanager
def opened(root: Path, study: str, address: Address, warn: Callable[[str], None]) -> Iterator["Mirror"]:
    """The mirror of a study while this process is its only writer; its state is saved at the end, come what may.

    Raises StudyError where the study has no results or another process is at it.
    """
    folder = Path(root) / "results" / study
    if not folder.is_dir():
        raise StudyError(f"results/{study} does not exist yet")
    (folder / "tracking").mkdir(exist_ok=True)
    with (folder / "tracking" / ".lock").open("w") as lock, credentials(address):
        _acquire(lock, study)
        mirror = Mirror(Path(root), study, address, warn)
        try:
            yield mirror
        finally:
            mirror.save()


class Mirror:
    """State of one writer: what is known to be mirrored (`jobs`), what is shown as running (`live`), the open store."""

    def __init__(self, root: Path, study: str, address: Address, warn: Callable[[str], None]) -> None:
        self.study, self.address, self.warn = study, address, lambda text: warn(scrub(f"{study}: {text}", address))
        self.folder = root / "results" / study
        self.new = self.updated = self.unchanged = 0
        self._root, self._store, self.down = root, None, False
        self._file = self.folder / "tracking" / "mirrored.json"
        self._state = self._load()
        known = self._state["stores"].setdefault(address.uri, {"jobs": {}, "live": {}})
        if (database := database_of(root, address)) and not database.exists():
            known.update(jobs={}, live={})  # somebody deleted it to have it made again
        self.jobs, self.live = known["jobs"], known["live"]
        self._saved = copy.deepcopy(self._state)

    def write_finished(self) -> None:
        """Mirror every job that has a receipt and is not mirrored yet."""
        self.unchanged, pending = 0, []
        for job in find(self.folder):
            if not job.finished:
                continue
            known = self.jobs.get(job.path, {})
            if known.get("stamp") == job.stamp:
                self.unchanged += 1
                continue
            try:
                record = read(job)
            except Exception as error:  # damaged in a way nobody thought of; the other jobs go on
                self.warn(f"{job.path}: not mirrored: {error}")
                continue
            if known.get("digest") == record.digest:  # touched, or fetched again
                known["stamp"] = job.stamp
                self.unchanged += 1
            else:
                pending.append((job, record))
        if pending and self.reaching(lambda store: self._write_all(store, pending), f"{len(pending)} jobs"):
            self.write_finished()

    def fail_open(self) -> None:
        """FAILED for the runs that are shown as running and have nobody following them any more."""
        left = {path: live for path, live in self.live.items() if live["open"]}

        def close(store: Store) -> None:
            for live in left.values():
                run = store.run(live["run"])
                if run and run.status == "RUNNING":
                    store.end(run, "FAILED", now())
                live["open"] = False

        if left:
            self.reaching(close, f"{len(left)} runs to close")

    def reaching(self, act: Callable[[Store], Any], waiting: str) -> Any:
        """Call `act` with the open store. Where that fails, warn once until it works again, and answer None."""
        try:
            self._store = self._store or Store(self._root, self.study, self.address)
            result = act(self._store)
        except Exception as error:  # mlflow raises nearly anything; the study must go on
            self._store = None
            if not self.down:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                self.warn(f"{scrub(reason, self.address)[:140]}; {waiting} left for the next sync")
            self.down = True
            return None
        self.down = False
        return result

    def save(self) -> None:
        """Write the state file, if there is anything new to write."""
        if self._state != self._saved:
            try:
                save_json(self._file, self._state)
                self._saved = copy.deepcopy(self._state)
            except StudyError as error:
                self.warn(str(error))

    def _write_all(self, store: Store, pending: list[tuple[Job, Record]]) -> bool:
        """True where runs that the state file knows are gone from the store: all has to be looked at again."""
        if lost := [path for path, known in self.jobs.items() if known["run"] not in store]:
            for path in lost:
                del self.jobs[path]
            return True
        for job, record in sorted(pending, key=lambda pair: pair[1].started):
            try:
                run = self._write(store, record)
            except Exception as error:
                if not refused(error):
                    raise
                self.warn(f"{record.path}: not taken by {self.address.uri}: {error}")
            else:
                self.jobs[job.path] = {"stamp": job.stamp, "digest": record.digest, "run": run.id}
                self.live.pop(job.path, None)
        return False

    def _write(self, store: Store, record: Record) -> Run:
        runs = store.runs(record.path)
        for run in runs:
            done = run.receipt == record.receipt and run.digest == record.digest
            if done and (run.deleted or (run.status == "FINISHED" and not run.superseded)):
                self.unchanged += 1
                return run
        runs = [run for run in runs if not run.deleted]
        same = [run for run in runs if run.receipt == record.receipt]
        run = self._followed(store, record) or (same[0] if same else None)
        tags = {**record.tags, "attribution.receipt": record.receipt, "attribution.superseded": "false"}
        known, run = run, run or store.create(record.path, record.started, tags)
        store.describe(run, record.params, tags)
        store.measure(run, [(name, value, 0) for name, value in record.metrics.items()], record.ended)
        curve, bad = points(record.log)
        store.measure(run, curve, run.started)
        store.end(run, "FINISHED", record.ended)
        for other in runs:
            if other is not run and not other.superseded:
                if other.status == "RUNNING":
                    store.end(other, "FAILED", now())
                store.describe(other, {}, {"attribution.superseded": "true"})
        store.describe(run, {}, {"attribution.mirrored": record.digest})
        self.updated, self.new = self.updated + bool(known), self.new + (not known)
        if bad:
            self.warn(f"{record.path}: {bad} lines of log.jsonl are no records")
        return run

    def _followed(self, store: Store, record: Record) -> Run | None:
        """The run that showed this very job while it ran: the log that it was given is how the job's log begins."""
        live = self.live.get(record.path)
        if live is None:
            return unclaimed(store, record.path)
        run = store.run(live["run"]) if prefix(record.log, live["bytes"]) == live["prefix"] else None
        return run if run and run.started >= record.started - CLOCKS_MS else None

    def _load(self) -> dict[str, Any]:
        try:
            state = load_json(self._file) if self._file.exists() else {}
        except StudyError:
            state = {}
        fresh = {"format": STATE_FORMAT, "stores": {}}
        return state if isinstance(state, dict) and state.get("format") == STATE_FORMAT else fresh


def unclaimed(store: Store, path: str) -> Run | None:
    """A run that was begun for a job, but lost before the state file knew of it."""
    runs = store.runs(path)
    return next((run for run in runs if not run.receipt and not run.deleted and run.status == "RUNNING"), None)


def prefix(log: bytes, size: int) -> str:
    """Hash of the first `size` bytes of a log; of nothing where the log is shorter."""
    return hashlib.sha256(log[:size]).hexdigest() if len(log) >= size else ""


def _acquire(lock: Any, study: str) -> None:
    """The lock of the study's only writer; it is the kernel's and ends with the process, however that ends."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise StudyError(f"another process is mirroring {study}") from error
            time.sleep(0.2)
