"""The frame of a step: flags in, checked inputs, the work, a receipt out; a failure is one line on stderr.

A step module ends with `if __name__ == "__main__": main(run, OUTPUTS)`, where OUTPUTS maps each file that `run` writes
into the job's folder to its reproducibility class: bitwise, tolerance or statistical.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.workflow import exclusive, fingerprint, guard

RESERVED = ("spec", "code", "lock", "out")
ENVIRONMENT = ("device", "threads", "deterministic")
SHORT = "out of memory; ask for more with resources.mem_mb, or lower design.cohort"
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

Outputs = Mapping[str, str]


class Terminated(BaseException):
    """SIGTERM arrived: the job was cancelled or ran out of time. No `except Exception` of a step may catch it."""


@dataclass
class Job:
    """What a step is given.

    `identity` is the receipt's id, known before the work begins: a checkpoint bound to it belongs to this job only.
    Into `record` the step puts device, threads and deterministic switches, and whatever else the receipt should note.
    """

    step: str
    spec: dict[str, Any]
    out: Path
    inputs: dict[str, list[Path]]
    identity: str
    record: dict[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> Path:
        """The one file given as `--<name>`. Raises StudyError where there is none, or more than one."""
        paths = self.inputs.get(name, [])
        if len(paths) != 1:
            raise StudyError(f"--{name}: needs exactly one file, got {len(paths)}")
        return paths[0]


def main(run: Callable[[Job], None], outputs: Outputs) -> NoReturn:
    """Do the job that the command line describes, and exit.

    0 done; 1 a StudyError, a lack of memory or a refused write (one line); 130 interrupted; 143 terminated. Any other
    exception is a mistake in the code and keeps its traceback.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name if spec else Path(sys.argv[0]).name
    signal.signal(signal.SIGTERM, _terminate)
    with _one_line(module):
        package, _, step = module.rpartition(".")
        if package != f"{fingerprint.PACKAGE}.steps":
            raise StudyError(f"run it as `python -m {fingerprint.PACKAGE}.steps.<step>`")
        execute(run, outputs, step, sys.argv[1:], Path.cwd(), own=True)
    sys.exit(0)


def execute(
    run: Callable[[Job], None],
    outputs: Outputs,
    step: str,
    arguments: Sequence[str],
    root: Path,
    own: bool = False,
) -> str:
    """Check, run and record one job; returns the receipt's id.

    In a process of its `own` all that was imported must be the code that is recorded, before the work and after it.
    Nothing is removed but the receipt of an earlier run in the same folder, which no longer holds once work begins, and
    the half-written files of one that was killed. Where such a one still works there, its end is waited for.
    Raises StudyError for bad flags, code other than planned or imported from elsewhere, damaged inputs, and outputs
    that were not written.
    """
    if unknown := set(outputs.values()) - set(receipt.CLASSES):
        raise ValueError(f"no reproducibility class: {unknown}")
    started, begun = datetime.now(UTC), time.monotonic()
    flags = parse(arguments)
    spec, planned, lock, out = (_reserved(flags, name) for name in RESERVED)
    spec, out = _decode(spec), Path(out)
    method = spec.get("job", {}).get("method")
    code = guard.check_code(fingerprint.roots(step, method), planned)
    loaded = guard.check_loaded(code, root, sys.modules) if own else set()
    named = {name: [Path(path) for path in paths] for name, paths in flags.items()}
    used = [receipt.input_record(name, path, root) for name, paths in named.items() for path in paths]
    origin = receipt.commit(root)
    job = Job(step, spec, out, named, receipt.identity(step, spec, code.hash, lock, used))
    with exclusive.alone(out):
        for old in (out / receipt.NAME, *out.glob(".*.part")):
            old.unlink(missing_ok=True)
        run(job)
        if own:
            guard.check_loaded(code, root, loaded)
        written = [receipt.output_record(out / name, kind, root) for name, kind in outputs.items()]
        seconds = round(time.monotonic() - begun, 3)
        record = {
            "format": receipt.FORMAT,
            "step": step,
            "id": job.identity,
            "spec": spec,
            "code": {"hash": code.hash, "modules": code.modules},
            "inputs": used,
            "outputs": written,
            "environment": receipt.environment(lock, job.record),
            "notes": {name: value for name, value in job.record.items() if name not in ENVIRONMENT},
            "run": origin
            | {"host": os.uname().nodename, "slurm_job": os.environ.get("SLURM_JOB_ID")}
            | {"started": started.isoformat(timespec="seconds"), "seconds": seconds}
            | receipt.usage(),
        }
        receipt.write(out, record)
    return job.identity


def parse(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Flags with their values: `--name a b --other c`. Raises StudyError for a stray value or a repeated flag."""
    flags: dict[str, list[str]] = {}
    values: list[str] | None = None
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            name = argument.removeprefix("--")
            if name in flags:
                raise StudyError(f"--{name}: given twice")
            values = flags[name] = []
        elif values is None:
            raise StudyError(f"{argument}: a value without a flag before it")
        else:
            values.append(argument)
    return flags


def _reserved(flags: dict[str, list[str]], name: str) -> str:
    values = flags.pop(name, [])
    if len(values) != 1:
        raise StudyError(f"--{name}: needs exactly one value, got {len(values)}")
    return values[0]


def _decode(text: str) -> dict[str, Any]:
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise StudyError(f"--spec: not JSON ({error})") from error
    if not isinstance(spec, dict):
        raise StudyError("--spec: must be a JSON object")
    return spec


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: files in the making are being removed
    raise Terminated


@contextlib.contextmanager
def _one_line(module: str) -> Iterator[None]:
    """Turn the failures that are no mistake in the code into one line on stderr and an exit status."""
    try:
        yield
    except StudyError as error:
        message, status = str(error), 1
    except MemoryError:
        message, status = SHORT, 1
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except Terminated:
        message, status = "terminated: cancelled, or out of time", 143
    except RuntimeError as error:  # torch's own, recognised by its name as torch is not imported here
        if type(error).__name__ == "OutOfMemoryError":
            message, status = "out of GPU memory; lower design.cohort, or use a larger GPU", 1
        elif "DefaultCPUAllocator" in str(error):  # which torch raises as a plain RuntimeError
            message, status = SHORT, 1
        else:
            raise
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        message, status = f"{error.filename or 'writing'}: {error.strerror}", 1
    else:
        return
    print(f"{module}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
