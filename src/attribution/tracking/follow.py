"""Show jobs in MLflow while they run: a background process beside the run, reading the training logs that grow.

A job that is running has a log.jsonl that grows and no receipt yet that is newer. Its run is RUNNING; it becomes
FINISHED with everything that `mirror` writes when the receipt appears, and FAILED where the follower stops without one.
The server may come and go meanwhile: the logs are on disk, and what was not written is written later.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attribution.tracking.address import parse, scrub
from attribution.tracking.mirror import Mirror, opened, prefix, unclaimed
from attribution.tracking.records import LOG, RECEIPT, Job, find, points
from attribution.tracking.store import Store

POLL_SECONDS = 0.2  # how soon the sentinel is noticed


def follow(
    root: Path,
    studies: Sequence[str],
    uri: str,
    stop: Path,
    interval: float,
    warn: Callable[[str], None],
    parent: int | None,
) -> None:
    """Mirror finished and running jobs every `interval` seconds, until `stop` exists or process `parent` is gone.

    Never raises; `warn` gets one line for each thing that goes wrong, one for an outage however long it lasts.
    """
    address = parse(uri)
    with contextlib.ExitStack() as stack:
        followed: list[tuple[Mirror, dict[str, list]]] = []
        waiting = list(dict.fromkeys(studies))
        while True:
            last = stop.exists() or (parent is not None and not _alive(parent))
            for study in list(waiting):  # a study has no folder before its first job
                if (Path(root) / "results" / study).is_dir():
                    waiting.remove(study)
                    try:
                        mirror = stack.enter_context(opened(root, study, address, warn))
                    except Exception as error:  # another process is at it, or the disk is read-only
                        warn(scrub(f"{study}: not followed: {error}", address))
                    else:
                        followed.append((mirror, {job.path: job.stamp for job in find(mirror.folder)}))
            for mirror, before in followed:
                try:
                    _tick(mirror, before, last)
                except Exception as error:  # the promise above
                    warn(scrub(f"{mirror.study}: {error}", address))
            if last:
                return
            deadline = time.monotonic() + interval
            while time.monotonic() < deadline and not stop.exists() and (parent is None or _alive(parent)):
                time.sleep(POLL_SECONDS)


def running(job: Job, before: dict[str, list]) -> bool:
    """True where the log grew since the follower began (`before`: path -> stamp) and no later receipt closes it."""
    logged = job.time(LOG)
    if logged is None or logged <= (job.time(RECEIPT) or 0):
        return False
    return logged != next((mtime for name, mtime, _ in before.get(job.path, []) if name == LOG), None)


def _tick(mirror: Mirror, before: dict[str, list], last: bool) -> None:
    mirror.write_finished()
    jobs = [job for job in find(mirror.folder) if running(job, before)]
    changed = [job for job in jobs if mirror.live.get(job.path, {}).get("stamp") != job.stamp]
    if changed:
        mirror.reaching(lambda store: [_show(store, mirror, job) for job in changed], f"{len(changed)} running jobs")
    if last:
        mirror.fail_open()
    mirror.save()


def _show(store: Store, mirror: Mirror, job: Job) -> None:
    """Bring the run of a running job up to its log: the lines that were not written yet, whole ones only."""
    log = (job.folder / LOG).read_bytes()
    log = log[: log.rfind(b"\n") + 1]
    live = mirror.live.get(job.path)
    run = store.run(live["run"]) if live else None
    if live and (run is None or prefix(log, live["bytes"]) != live["prefix"]):  # deleted there, or begun anew
        if run and run.status == "RUNNING":
            store.end(run, "FAILED", int(job.time(LOG) // 1_000_000))
        live = run = None
    if live is None and (run := unclaimed(store, job.path)):
        live = {"run": run.id, "bytes": 0}
    if run is None:
        # The folder changed last when its log was made: the nearest thing to the start that is known without a receipt.
        started = min(job.time(LOG), job.folder.stat().st_mtime_ns) // 1_000_000
        run = store.create(job.path, int(started), {"attribution.live": "true"})
        live = {"run": run.id, "bytes": 0}
    elif run.status != "RUNNING":
        store.reopen(run)
    live |= {"open": True, "prefix": prefix(log, live["bytes"])}
    mirror.live[job.path] = live
    store.measure(run, points(log[live["bytes"] :])[0], run.started)
    live |= {"bytes": len(log), "prefix": prefix(log, len(log)), "stamp": job.stamp}


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
