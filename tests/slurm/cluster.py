"""A Slurm cluster on one host, from Debian's packages: munged, slurmctld and three slurmd with placeholder GPUs.

    python tests/slurm/cluster.py start FOLDER      then use sbatch, squeue, `snakemake --profile slurm` as usual
    python tests/slurm/cluster.py stop FOLDER       cancels what runs and ends every process that was started

No service of the system is used or touched. All daemons listen on 127.0.0.1 alone and keep their files in FOLDER. One
link is made outside, /etc/slurm/slurm.conf, because the commands that jobs start look only there; where that file
exists already, nothing is started. Needs root. GPUs are character devices that read like /dev/null: Slurm
counts and grants them, and no job can compute on them.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
MARK = "ATTRIBUTION_TEST_CLUSTER"  # in the environment of every process of the cluster, its jobs included
NODES = ("gpu1", "gpu2", "gpu3")
GPUS, CPUS, MEMORY_MB = 2, 4, 7000  # of one node; Slurm is told so, whatever the host has

SLURM_CONF = """\
ClusterName=attribution
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
# Memory is enforced without control groups: read every two seconds.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
# A dead node is noticed soon, its jobs start anew soon, and finished jobs stay listed to be counted.
SlurmdTimeout=15
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName=gpu[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] {node}
PartitionName=gpu Nodes=gpu[1-3] Default=YES MaxTime=INFINITE State=UP
"""


class Unavailable(Exception):
    """Slurm cannot be run here; the message says why."""


@dataclass(frozen=True)
class Cluster:
    """The daemons whose files lie in `folder`."""

    folder: Path

    def start(self) -> None:
        """Start everything and wait until the nodes are idle. Raises Unavailable, with nothing left running."""
        if reason := missing():
            raise Unavailable(reason)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munged refuses a socket that its clients cannot reach
        (self.folder / "state").mkdir(exist_ok=True)
        self._configure()
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.symlink_to(self.folder / "slurm.conf")
        try:
            self._munge()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self._wait(lambda: self.states() == dict.fromkeys(NODES, "idle"), 60, "nodes do not become idle")
        except Exception:
            self.stop()
            raise

    def stop(self) -> None:
        """End the jobs, then every process of the cluster, and remove the link."""
        with contextlib.suppress(Exception):
            self.run("scancel", "--me", timeout=10)
            self._wait(lambda: not self.run("squeue", "--noheader", timeout=10), 20, "jobs do not end")
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(self.processes(), number)
            with contextlib.suppress(Unavailable):
                self._wait(lambda: not self.processes(), 10, "processes do not end")
        if CONFIG.is_symlink() and CONFIG.readlink() == self.folder / "slurm.conf":
            CONFIG.unlink()

    def start_controller(self) -> None:
        """Start slurmctld, which goes on with the jobs that it knew."""
        self.run("slurmctld")
        self._wait(lambda: self.run("scontrol", "ping"), 30, "slurmctld does not answer")

    def kill_controller(self) -> None:
        """End slurmctld at once, as a crash would."""
        self._signal([int((self.folder / "slurmctld.pid").read_text())], signal.SIGKILL)

    def saved(self) -> bool:
        """Whether slurmctld's file knows every job that runs: it is written some seconds after a job's start.

        One that crashes before holds those jobs and drains their nodes when it is back, until an operator frees both.
        """
        begun = self.run("squeue", "--noheader", "--states=RUNNING", "--format=%S").split()
        last = max((datetime.fromisoformat(start).timestamp() for start in begun), default=0.0)
        return (self.folder / "state/job_state").stat().st_mtime > last + 1

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self.run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """End a node's slurmd and all that runs there at once, as a power failure would."""
        of_node = [pid for pid in self.processes() if _environment(pid).get("SLURMD_NODENAME") == node]
        managers = {_parent(pid) for pid in of_node}
        managers = [pid for pid in managers if _command(pid).startswith("slurmstepd")]
        self._signal([int((self.folder / f"slurmd.{node}.pid").read_text()), *managers, *of_node], signal.SIGKILL)

    def states(self) -> dict[str, str]:
        """The state of each node, as sinfo gives it."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return dict(line.split() for line in lines)

    def processes(self) -> list[int]:
        """The processes of this cluster and its jobs, by the mark that they inherited.

        Not slurmstepd, which writes its title over its environment; it ends with its job.
        """
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in found if pid != os.getpid() and _environment(pid).get(MARK) == str(self.folder)]

    def mark(self) -> dict[str, str]:
        """For the environment of what uses the cluster: its jobs are found by it and ended at the end."""
        return {MARK: str(self.folder)}

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        gpus = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for gpu in gpus:
            if not gpu.exists():
                os.mknod(gpu, 0o666 | 0o020000, os.makedev(1, 3))
        controller, *nodes = _free_ports(1 + len(NODES))
        node = f"CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN"
        ports = ",".join(map(str, nodes))
        text = SLURM_CONF.format(host=host, folder=self.folder, controller_port=controller, node_ports=ports, node=node)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n")

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "wb") as file:
            file.write(secrets.token_bytes(128))
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.run(
            "munged",
            "--force",  # the folders above ours may be writable for others, as /tmp is
            f"--key-file={key}",
            *(f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()),
        )

    def run(self, *command: str, timeout: float = 60) -> str:
        """A command of Slurm; what it printed. Raises Unavailable with its last words where it fails."""
        environment = os.environ | self.mark() | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise Unavailable(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def _wait(self, condition, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Unavailable):
                if condition():
                    return
            if time.monotonic() > end:
                raise Unavailable(f"{what} within {seconds:.0f} s; logs: {self.folder}")
            time.sleep(0.2)

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid():
        return "needs root: device files and /etc/slurm/slurm.conf are made"
    if absent := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(absent)} not installed (Debian: apt-get install slurm-wlm munge)"
    if CONFIG.is_symlink() and not CONFIG.exists():
        CONFIG.unlink()  # left by a cluster whose folder is gone
    if CONFIG.is_symlink() or CONFIG.exists():
        return f"{CONFIG} exists: a Slurm is set up here"
    return None


def _environment(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit("usage: cluster.py start|stop FOLDER")
    try:
        getattr(Cluster(Path(sys.argv[2]).resolve()), sys.argv[1])()
    except Unavailable as error:
        sys.exit(f"cluster.py: {error}")
