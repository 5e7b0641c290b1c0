"""One study's runs, written into MLflow through its own client.

MLflow is for people to look at: nothing reads it back, it may be deleted and made again from the receipts, and no
failure here is a failure of the study. Whatever goes wrong becomes a warning, and the next sync writes what is missing:
a run carries the digest of what it shows and is FINISHED last, so that one which was cut off is written again.
"""

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.tracking.address import PASSWORD, scrub
from attribution.tracking.records import STUDY, SUMMARY, Record, of_study

# Before mlflow is imported, which is not before it is needed (2 s): no telemetry, no links on stdout, and a server that
# does not answer is given up soon.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
PER_BATCH = {"metrics": 1000, "params": 100}  # what a server takes at once
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # of one run's content: the others may still be written
DIGEST, PATH, SUPERSEDED, PARENT = (
    "attribution.digest",
    "attribution.path",
    "attribution.superseded",
    "mlflow.parentRunId",
)


@dataclass
class Summary:
    """Runs by what became of them, and one line for each thing that went wrong."""

    written: int
    unchanged: int
    warnings: list[str]


def sync(root: Path, study: str, uri: str, failed: bool = False) -> Summary:
    """Mirror results/<study> under `root` to `uri`, http(s)://... or sqlite:///...; `failed` is shown of the study.

    Never raises: what went wrong is in the warnings.
    """
    summary = Summary(0, 0, [])
    try:
        folder = root / "results" / study
        records, summary.warnings[:] = of_study(folder, failed)
        if records:
            (folder / "tracking").mkdir(exist_ok=True)
            with (folder / "tracking/.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # one writer at a time; the kernel's, it ends with the process
                Mirror(root, study, uri).write(records, summary)
        else:
            summary.warnings.append(f"results/{study} holds no finished job")
    except Exception as error:  # the promise above, whatever mlflow, a disk or a network comes up with
        summary.warnings.append(f"not mirrored to {uri}: {error}; the next sync writes what is missing")
    summary.warnings[:] = [scrub(f"{study}: {text}", os.environ.get(PASSWORD)) for text in summary.warnings]
    return summary


class Mirror:
    """An open experiment and the runs in it."""

    def __init__(self, root: Path, study: str, uri: str) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import mlflow

        logging.getLogger("alembic").setLevel(logging.ERROR)
        self.folder, place = root / "results" / study, None
        if uri.startswith("sqlite:///"):
            database = (root / uri.removeprefix("sqlite:///")).absolute()
            uri, place = f"sqlite:///{database}", (database.parent / "artifacts").as_uri()
        self.entities, self.client = mlflow.entities, mlflow.MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(study)
        self.experiment = (
            found.experiment_id if found else self.client.create_experiment(study, artifact_location=place)
        )
        self.runs: dict[str, list[Any]] = {}
        token = ""
        while token is not None:
            page = self.client.search_runs([self.experiment], "", self.entities.ViewType.ALL, page_token=token)
            for run in page:
                self.runs.setdefault(run.data.tags.get(PATH, ""), []).append(run)
            token = page.token or None

    def write(self, records: list[Record], summary: Summary) -> None:
        """Write the records that are not shown yet. `summary` counts them, and takes what the server refuses of one."""
        ids: dict[str, str] = {}
        for record in records:
            known = self.runs.get(record.path, [])
            of_it = [run for run in known if record.group or run.data.tags.get(DIGEST) == record.digest]
            active = [run for run in of_it if run.info.lifecycle_stage == "active"]
            run = active[0] if active else None
            if run and (run.data.tags.get(DIGEST), run.info.status) == (record.digest, record.status):
                ids[record.path] = run.info.run_id
                summary.unchanged += 1
            elif of_it and not run and not record.group:  # somebody deleted it, and does not want it back
                summary.unchanged += 1
                continue
            else:
                try:
                    ids[record.path] = self._show(record, run and run.info.run_id, ids.get(record.parent or ""))
                    summary.written += 1
                except Exception as error:
                    if getattr(error, "error_code", "") not in REFUSALS:
                        raise
                    summary.warnings.append(f"{record.path}: not taken: {error}")
                    continue
            self._supersede(known, ids[record.path])

    def _show(self, record: Record, run_id: str | None, parent: str | None) -> str:
        """Write a record into its run, a new one where it has none; returns the run's id."""
        tags = {PATH: record.path, SUPERSEDED: "false", **record.tags} | ({PARENT: parent} if parent else {})
        new = {} if record.group else {DIGEST: record.digest}
        if run_id is None:
            made = self.client.create_run(self.experiment, record.started, tags | new, record.name)
            run_id = made.info.run_id
        # Of a metric mlflow shows the latest, and of equal points it keeps one.
        at = int(1000 * time.time()) if record.group else record.ended
        metrics = [self.entities.Metric(name, value, at, 0) for name, value in record.metrics.items()]
        metrics += [self.entities.Metric(name, value, record.started, step) for name, value, step in record.curve]
        given = {"metrics": metrics, "params": [self.entities.Param(*item) for item in record.params.items()]}
        for kind, items in given.items():
            for first in range(0, len(items), PER_BATCH[kind]):
                self.client.log_batch(run_id, **{kind: items[first : first + PER_BATCH[kind]]})
        if record.path == STUDY and (self.folder / SUMMARY).is_dir():
            self.client.log_artifacts(run_id, str(self.folder / SUMMARY))
        if record.group:
            for name, value in (record.tags | {DIGEST: record.digest}).items():
                self.client.set_tag(run_id, name, value)
        if record.status == "RUNNING":
            self.client.update_run(run_id, status=record.status)
        else:
            self.client.set_terminated(run_id, record.status, record.ended)
        return run_id

    def _supersede(self, known: list[Any], current: str) -> None:
        """Tell the runs of a path apart: the current one, and those that it was made anew for."""
        for run in known:
            superseded = str(run.info.run_id != current).lower()
            if run.info.lifecycle_stage == "active" and run.data.tags.get(SUPERSEDED) != superseded:
                self.client.set_tag(run.info.run_id, SUPERSEDED, superseded)
