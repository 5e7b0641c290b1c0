"""The only module that talks to mlflow: one study's experiment, and the runs in it.

mlflow is imported when a store is opened, not before (2 s, and 20 s on a busy machine). A new SQLite file is made
beside its place and renamed: one that was killed halfway through mlflow's migrations stays broken for good.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.tracking.address import Address, is_http, unreachable
from attribution.tracking.records import Point

# Before mlflow is imported. No telemetry, no URLs on stdout, and a server that does not answer is given up soon.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
METRICS_PER_BATCH, PARAMS_PER_BATCH, RUNS_PER_PAGE = 1000, 100, 1000


@dataclass
class Run:
    """What the mirror has to know of a run; kept in step with what is written."""

    id: str
    path: str
    receipt: str
    digest: str
    status: str
    superseded: bool
    deleted: bool
    started: int


class Store:
    """An open experiment. Every method may raise what mlflow raises; see `refused`."""

    def __init__(self, root: Path, study: str, address: Address) -> None:
        """Raises StudyError where the server cannot be reached, without importing mlflow."""
        if is_http(address.uri) and (reason := unreachable(address)):
            raise StudyError(f"{address.uri} cannot be reached ({reason})")
        os.environ.update(QUIET)
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        logging.getLogger("alembic").setLevel(logging.ERROR)
        uri, artifacts = address.uri, None
        if database := database_of(root, address):
            uri, artifacts = f"sqlite:///{database}", (database.parent / "artifacts").as_uri()
            if not database.exists():
                _create_database(database, artifacts)
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(study)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise StudyError(f"{address.uri}: experiment {study} is deleted there; restore it or delete it for good")
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(study, artifact_location=artifacts)
        )
        self._runs: dict[str, Run] = {run.id: run for run in self._fetch()}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    def run(self, run_id: str) -> Run | None:
        """The run of this id, None where it is absent or was deleted by somebody."""
        run = self._runs.get(run_id)
        return None if run is None or run.deleted else run

    def runs(self, path: str) -> list[Run]:
        """All runs of a job, current before superseded, newest first."""
        runs = [run for run in self._runs.values() if run.path == path]
        return sorted(runs, key=lambda run: (run.superseded, -run.started))

    def create(self, path: str, started: int, tags: Mapping[str, str]) -> Run:
        """A new run of a job, RUNNING since `started` (ms), with its path tag: enough to be found again."""
        tags = {**tags, "attribution.path": path, "attribution.superseded": "false", "mlflow.source.type": "JOB"}
        made = self._client.create_run(self._experiment, start_time=started, tags=tags, run_name=path)
        run = Run(made.info.run_id, path, tags.get("attribution.receipt", ""), "", "RUNNING", False, False, started)
        self._runs[run.id] = run
        return run

    def describe(self, run: Run, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write parameters that the run does not have yet (mlflow refuses to change one) and set tags."""
        entities = self._mlflow.entities
        known = self._client.get_run(run.id).data.params if params else {}
        missing = [entities.Param(name, value) for name, value in params.items() if name not in known]
        for first in range(0, len(missing), PARAMS_PER_BATCH):
            self._client.log_batch(run.id, params=missing[first : first + PARAMS_PER_BATCH])
        given = [entities.RunTag(name, value) for name, value in tags.items()]
        for first in range(0, len(given), PARAMS_PER_BATCH):
            self._client.log_batch(run.id, tags=given[first : first + PARAMS_PER_BATCH])
        run.receipt = tags.get("attribution.receipt", run.receipt)
        run.digest = tags.get("attribution.mirrored", run.digest)
        run.superseded = tags.get("attribution.superseded", str(run.superseded)).lower() == "true"

    def measure(self, run: Run, points: Sequence[Point], moment: int) -> None:
        """Write metrics, all at `moment` (ms): mlflow keeps one of equal points, so writing again changes nothing."""
        metrics = [self._mlflow.entities.Metric(name, value, moment, step) for name, value, step in points]
        for first in range(0, len(metrics), METRICS_PER_BATCH):
            self._client.log_batch(run.id, metrics=metrics[first : first + METRICS_PER_BATCH])

    def end(self, run: Run, status: str, moment: int) -> None:
        """FINISHED or FAILED at `moment` (ms)."""
        self._client.set_terminated(run.id, status, end_time=moment)
        run.status = status

    def reopen(self, run: Run) -> None:
        """RUNNING again: the job went on after its follower had ended."""
        self._client.update_run(run.id, status="RUNNING")
        run.status = "RUNNING"

    def _fetch(self) -> list[Run]:
        found, token = [], None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                run_view_type=self._mlflow.entities.ViewType.ALL,
                max_results=RUNS_PER_PAGE,
                page_token=token,
            )
            found += [_known(run) for run in page if "attribution.path" in run.data.tags]
            token = page.token
            if not token:
                return found


def refused(error: Exception) -> bool:
    """True where the store answered and would not take this one run's content: the others may still be written."""
    return getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def database_of(root: Path, address: Address) -> Path | None:
    """The file of a SQLite address, relative ones from `root`; None for a server."""
    if not address.uri.startswith("sqlite:///"):
        return None
    return (root / address.uri.removeprefix("sqlite:///")).absolute()


def now() -> int:
    """ms since 1970."""
    return int(1000 * time.time())


def _known(run: Any) -> Run:
    tags = run.data.tags
    return Run(
        id=run.info.run_id,
        path=tags["attribution.path"],
        receipt=tags.get("attribution.receipt", ""),
        digest=tags.get("attribution.mirrored", ""),
        status=run.info.status,
        superseded=tags.get("attribution.superseded") == "true",
        deleted=run.info.lifecycle_stage == "deleted",
        started=run.info.start_time,
    )


def _create_database(database: Path, artifacts: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    for left in database.parent.glob(f".{database.name}.*"):  # of a process that was killed here
        left.unlink()
    part = database.with_name(f".{database.name}.{os.getpid()}.part")
    store = SqlAlchemyStore(f"sqlite:///{part}", artifacts)
    store.engine.dispose()
    part.replace(database)
