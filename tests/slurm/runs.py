"""One run of a study on the test cluster through every fault, and what was seen on the way."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = ["snakemake", "--profile", "slurm"]  # and the study: as README.md says
SHELL = Path(__file__).with_name("faults.sh")
PATIENCE = 1800.0  # seconds for the story of the faults, and
HOURS = 4 * 3600.0  # for another study: the host may be busy
DOWN = 12.0  # seconds without a controller

CANCELLED, MEMORY, TIME = "job cancelled", "out of memory", "over its time"
NODE, CONTROLLER, KILLED = "node killed", "controller restarted", "snakemake killed"
# The job that a fault meets, by its folder, and what faults.sh does to it.
FAULTS = {
    CANCELLED: ("results/tiny/models/crn0_000_007", "hang"),
    MEMORY: ("results/tiny/models/crn1_000_007", "hog 2000"),
    TIME: ("results/tiny/models/own0_000_003", "hang"),
    NODE: ("results/tiny/queries/all", "hang"),
    KILLED: ("results/tiny/gradients/full/queries/loss/all", "slow 20"),
}


class Event(NamedTuple):
    """A step began (kind start) or ended well (end), in seconds since 1970."""

    kind: str
    when: float
    job: str
    node: str
    folder: str


@dataclass
class Run:
    """A tree in which a study runs on the cluster."""

    tree: Path
    cluster: Any
    environment: dict[str, str]
    study: str
    struck: dict[str, float] = field(default_factory=dict)  # when each fault came about
    deadline: float = field(default_factory=lambda: time.monotonic() + PATIENCE)
    status: int | None = None
    log: str = ""

    @property
    def faults(self) -> Path:
        """The folder that faults.sh reads and writes."""
        return self.tree / "faults"

    def events(self) -> list[Event]:
        """What the steps did, in its order."""
        with contextlib.suppress(FileNotFoundError):
            rows = [line.split() for line in (self.faults / "events").read_text().splitlines()]
            return [Event(kind, float(when), *rest) for kind, when, *rest in rows]
        return []

    def starts(self, fault: str) -> list[Event]:
        """Of the job that a fault meets."""
        return [event for event in self.events() if event.kind == "start" and event.folder == self.met_by(fault)]

    def met_by(self, fault: str) -> str:
        """The folder of the job that a fault meets; for one that meets all jobs, that of them all."""
        return FAULTS[fault][0] if fault in FAULTS else "results/tiny"

    def unrecorded(self) -> set[str]:
        """Outputs of which Snakemake has no record."""
        kept = self.tree / ".snakemake/metadata"
        made = [output["path"] for receipt in receipts(self.tree) for output in receipt["outputs"]]
        names = {base64.urlsafe_b64encode(path.encode()).decode() for path in made}
        found = {path.name for path in kept.iterdir()}
        return names - found

    def repeated(self, since: float = 0.0) -> list[str]:
        """Folders whose job had ended well before a time (or at all) and began again after it."""
        ended: set[str] = set()
        found = []
        for event in self.events():
            if event.kind == "end" and (not since or event.when < since):
                ended.add(event.folder)
            elif event.kind == "start" and event.when >= since and event.folder in ended:
                found.append(event.folder)
        return found

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen]:
        """The command as a user gives it, its log in a file; killed at the end if it still runs."""
        environment = self.environment | self.cluster.mark()
        environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}
        environment |= {"BASH_ENV": str(SHELL), "FAULTS": str(self.faults)}
        (self.faults / "plan").mkdir(parents=True, exist_ok=True)
        with (self.tree / "run.log").open("a") as log:
            process = subprocess.Popen([*COMMAND, self.study], cwd=self.tree, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.log = (self.tree / "run.log").read_text()

    def until(self, condition: Callable[[], Any], what: str, process: subprocess.Popen) -> Any:
        """The first true value of a condition; fails where the run ends before, or patience does."""
        while not (found := condition()):
            if process.poll() is not None or time.monotonic() > self.deadline:
                log = (self.tree / "run.log").read_text()
                raise AssertionError(f"{what}: waited for in vain (status {process.poll()})\n{log[-6000:]}")
            time.sleep(0.3)
        return found

    def met(self, fault: str, process: subprocess.Popen) -> Event:
        """The start of the job that the fault meets, once it is there."""
        return self.until(lambda: self.starts(fault), f"a job for: {fault}", process)[-1]

    def strike(self, fault: str) -> None:
        """Note that a fault comes about now."""
        self.struck[fault] = time.time()


def tell(run: Run) -> Run:
    """Run the study, strike when the jobs are there, kill Snakemake, and give the same command again."""
    (run.faults / "plan").mkdir(parents=True)
    for folder, what in FAULTS.values():
        (run.faults / "plan" / folder.replace("/", "-")).write_text(f"{what}\n")
    with run.running() as process:
        for fault in (TIME, CANCELLED, MEMORY):
            event = run.met(fault, process)
            run.strike(fault)
            if fault == TIME:
                run.cluster.run("scontrol", "update", f"JobId={event.job}", "TimeLimit=1")
            elif fault == CANCELLED:
                run.cluster.run("scancel", event.job)
        for fault in (CANCELLED, MEMORY):
            run.until(lambda fault=fault: len(run.starts(fault)) > 1, f"a second start after: {fault}", process)
        run.until(run.cluster.saved, "a state that Slurm saved", process)
        run.strike(CONTROLLER)
        run.cluster.kill_controller()
        time.sleep(DOWN)
        run.cluster.start_controller()
        run.until(lambda: len(run.starts(TIME)) > 1, f"a second start after: {TIME}", process)
        node = run.met(NODE, process).node
        run.strike(NODE)
        run.cluster.kill_node(node)
        run.until(lambda: len(run.starts(NODE)) > 1, "a new start of the dead node's job", process)
        run.cluster.start_node(node)
        run.met(KILLED, process)
        run.strike(KILLED)
    return finish(run, max(1.0, run.deadline - time.monotonic()))


def finish(run: Run, seconds: float = HOURS) -> Run:
    """Run the study, or what is left of it, to its end."""
    with run.running() as process:
        run.status = process.wait(seconds)
    return run


def receipts(tree: Path) -> list[dict[str, Any]]:
    """Of all jobs that ran there."""
    homes = [home for home in (tree / "results").iterdir() if home.name != "published"]
    return [json.loads(path.read_text()) for home in sorted(homes) for path in sorted(home.rglob("receipt.json"))]


def outputs(tree: Path, untimed: Callable[[Any], Any]) -> dict[str, str]:
    """SHA-256 of every output by its path, as the receipts say; of JSON, of what is no time."""
    found = {output["path"]: output["sha256"] for receipt in receipts(tree) for output in receipt["outputs"]}
    for path in (path for path in found if path.endswith(".json")):
        text = json.dumps(untimed(json.loads((tree / path).read_text())), sort_keys=True)
        found[path] = hashlib.sha256(text.encode()).hexdigest()
    return found
