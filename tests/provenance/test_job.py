"""Steps as they are run: `python -m attribution.steps.<step>` in a small copy of the package, with real exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import StudyError
from attribution.provenance import job, receipt
from attribution.workflow import fingerprint
from attribution.workflow.spec import canonical

SOURCE = Path(__file__).parents[2] / "src" / "attribution"
SPEC = {"seed": 0, "job": {"cohort": "full"}}

STEP = """
from attribution.core.double import double
from attribution.provenance.job import main

OUTPUTS = {"out.txt": "bitwise", "log.txt": "statistical"}


def run(job):
    text = job.input("text").read_text()
    (job.out / "out.txt").write_text(double(text) + "".join(path.read_text() for path in job.inputs.get("more", [])))
    (job.out / "log.txt").write_text(job.identity)
    job.record |= {"device": "cpu", "best": 3}
    FAILURE


if __name__ == "__main__":
    main(run, OUTPUTS)
"""


HIDDEN = "__import__('importlib').import_module('attribution.core.hidden')"
LATE = "open('src/attribution/core/late.py', 'w').write('X = 2'); from attribution.core import late"
FINGERPRINT = "from attribution.workflow.fingerprint import *; print(fingerprint(*roots('echo')).hash)"


class Study:
    """A root with a copy of the package that holds one step, and a way to run it."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, root / "src"
        for package in ("workflow", "provenance"):
            shutil.copytree(SOURCE / package, self.source / "attribution" / package)
        shutil.copy(SOURCE / "errors.py", self.source / "attribution/errors.py")
        for package in ("", "core", "steps", "methods"):
            (self.source / "attribution" / package).mkdir(exist_ok=True)
            (self.source / "attribution" / package / "__init__.py").touch()
        self.put("src/attribution/core/double.py", "def double(text):\n    return text * 2\n")
        method = {"label": "TRAK", "about": "", "score": "", "source": ""}
        family = {"family": "Kernels", "reads": "gram", "settings": {}, "methods": {"trak": method}}
        self.put("src/attribution/methods/trak.py", f"FAMILY = {family}\nX = 1\n")
        self.put("text.txt", "ab")
        self.step()

    def put(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = path.stat().st_mtime_ns + 10_000_000_000 if path.exists() else None
        path.write_text(text)
        if stamp:  # a second write within a clock tick would otherwise meet the cache of parsed modules
            os.utime(path, ns=(stamp, stamp))
        return path

    def step(self, failure: str = "") -> None:
        """Write the step, with a line that `run` does at its end."""
        self.put("src/attribution/steps/echo.py", STEP.replace("FAILURE", failure))

    def command(self, *more: str, **changes: str) -> list[str]:
        spec = json.loads(changes.get("spec", canonical(SPEC)))
        method = spec["job"].get("method") if isinstance(spec, dict) else None
        code = fingerprint.fingerprint(*fingerprint.roots("echo", method), root=self.source).hash
        flags = {
            "spec": canonical(SPEC),
            "code": code,
            "lock": "l0",
            "out": "results/echo",
            "text": "text.txt",
        } | changes
        arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
        return [sys.executable, "-m", "attribution.steps.echo", *arguments, *more]

    def start(self, *more: str, **changes: str) -> subprocess.Popen[str]:
        environment = {"PYTHONPATH": str(self.source), "PATH": os.environ["PATH"], "SLURM_JOB_ID": "17"}
        pipe = subprocess.PIPE
        command = self.command(*more, **changes)
        return subprocess.Popen(command, cwd=self.root, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *more: str, **changes: str) -> tuple[int, str]:
        """Exit status and what was printed on stderr."""
        process = self.start(*more, **changes)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors

    def receipt(self, folder: str = "results/echo") -> dict[str, Any]:
        return receipt.read(self.root / folder)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_receipt_of_a_job(study: Study) -> None:
    more = [str(study.put(name, name).relative_to(study.root)) for name in ("m1", "m2")]
    assert study.run("--more", *more) == (0, "")
    assert (study.root / "results/echo/out.txt").read_text() == "ababm1m2"
    written = study.receipt()
    code = fingerprint.fingerprint("attribution.steps.echo", root=study.source)
    assert list(code.modules) == ["attribution.core.double", "attribution.steps.echo"]
    assert written["code"] == {"hash": code.hash, "modules": code.modules}
    assert (written["format"], written["step"], written["spec"]) == (1, "echo", SPEC)
    assert [(item["name"], item["path"], item["receipt"]) for item in written["inputs"]] == [
        ("text", "text.txt", None),
        ("more", "m1", None),
        ("more", "m2", None),
    ]
    assert [(item["path"], item["class"], item["bytes"]) for item in written["outputs"]] == [
        ("results/echo/out.txt", "bitwise", 8),
        ("results/echo/log.txt", "statistical", 64),
    ]
    for item in written["inputs"] + written["outputs"]:
        assert item["sha256"] == receipt.sha256(study.root / item["path"])
    assert (study.root / "results/echo/log.txt").read_text() == written["id"]  # known before the work began
    assert written["id"] == receipt.identity("echo", SPEC, code.hash, "l0", written["inputs"])
    assert written["environment"]["lock"]["hash"] == "l0"
    assert written["environment"]["device"] == "cpu"
    assert {"python", "packages", "threads", "deterministic"} <= set(written["environment"])
    assert written["notes"] == {"best": 3}
    assert written["run"]["slurm_job"] == "17"
    assert written["run"]["seconds"] >= 0
    assert 0 < written["run"]["cpu_seconds"] < 60
    assert written["run"]["seconds"] < written["run"]["wall_seconds"] < 3600  # of the process of these tests
    assert 5 < written["run"]["peak_mb"] < 2000  # kilobytes taken for bytes or megabytes: 0.01 or 10000
    assert {"commit", "dirty", "host", "started"} <= set(written["run"])
    assert str(study.root) not in json.dumps(written)


def test_id_is_that_of_the_same_job_at_another_time_and_place(study: Study) -> None:
    study.run()
    study.run(out="results/again")
    study.put("copy.txt", "ab")
    study.run(out="results/copied", text="copy.txt")
    first, again, copied = (study.receipt(f"results/{name}") for name in ("echo", "again", "copied"))
    assert first["id"] == again["id"] == copied["id"]
    study.put("text.txt", "cd")
    study.run(out="results/other")
    assert study.receipt("results/other")["id"] != first["id"]


def test_input_made_by_another_job_names_its_receipt(study: Study) -> None:
    study.run()
    assert study.run(out="results/next", text="results/echo/out.txt") == (0, "")
    assert study.receipt("results/next")["inputs"][0]["receipt"] == study.receipt()["id"]
    (study.root / "results/echo/out.txt").write_text("aba")
    status, line = study.run(out="results/next", text="results/echo/out.txt")
    assert status == 1
    assert line == (
        "attribution.steps.echo: results/echo/out.txt: does not match its receipt (truncated or edited); "
        "delete its folder and rerun\n"
    )
    assert study.receipt("results/next")["step"] == "echo"  # a job that did not begin leaves the folder as it was


def test_code_that_changed_after_planning_is_refused(study: Study) -> None:
    command = study.command()
    study.put("src/attribution/core/double.py", "def double(text):\n    return text * 3\n")
    environment = {"PYTHONPATH": str(study.source), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=study.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "changed after the run was planned" in done.stderr
    assert not (study.root / "results").exists()


@pytest.mark.parametrize(
    ("name", "text", "failure", "line"),
    [
        (
            "core/hidden.py",
            "",
            HIDDEN,
            "was imported, but no",
        ),
        ("core/late.py", "X = 1\n", LATE, "attribution.core.late: changed while the job ran, before it was imported"),
        (
            "core/double/__init__.py",
            "def double(text):\n    return text\n",
            "",
            "attribution.core.double: is there twice",
        ),
    ],
)
def test_code_other_than_fingerprinted_is_refused(
    study: Study, name: str, text: str, failure: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old: a receipt of the fingerprinted code, which is not what ran."""
    study.step(failure)
    command = study.command() if failure != LATE else []
    study.put(f"src/attribution/{name}", text)
    if failure != LATE:  # else what is imported late is there when the job is planned
        monkeypatch.setattr(study, "command", lambda: command)
    status, errors = study.run()
    assert (status, errors.count("\n")) == (1, 1)
    assert line in errors
    assert not (study.root / "results/echo/receipt.json").exists()


def test_a_package_of_the_same_name_elsewhere_is_refused(study: Study) -> None:
    """In the folder that the job runs in, which Python looks in first: a copy whose code is the same."""
    shutil.copytree(study.source / "attribution", study.root / "attribution")
    status, errors = study.run()
    assert (status, errors.count("\n")) == (1, 1)
    assert f"attribution is imported from {study.root}, not from src" in errors
    shutil.rmtree(study.root / "attribution")
    assert study.run() == (0, "")


def test_an_older_compiled_copy_is_refused(study: Study) -> None:
    """Python takes it for a source of the same size and second, whatever stands there. Old: "abab", of code that is
    planned, fingerprinted and recorded as making "ababab".
    """
    path = study.source / "attribution/core/double.py"
    assert study.run() == (0, "")
    before = path.stat()
    path.write_text(path.read_text().replace("2", "3"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    code = subprocess.run(
        [sys.executable, "-c", FINGERPRINT], env={"PYTHONPATH": str(study.source)}, capture_output=True, text=True
    ).stdout.strip()
    status, errors = study.run(code=code)
    assert (status, errors.count("\n")) == (1, 1)
    assert "attribution.core.double: Python ran an older version" in errors
    shutil.rmtree(path.parent / "__pycache__")
    assert study.run(code=code) == (0, "")
    assert (study.root / "results/echo/out.txt").read_text() == "ababab"


def test_method_of_a_job_belongs_to_its_code(study: Study) -> None:
    spec = canonical({"job": {"method": "trak"}})
    assert study.run(spec=spec) == (0, "")
    assert "attribution.methods.trak" in study.receipt()["code"]["modules"]


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        ("from attribution.errors import StudyError; raise StudyError('a\\nb')", 1, "a b"),
        ("raise MemoryError", 1, "out of memory"),
        ("import numpy; numpy.ones(1 << 50)", 1, "out of memory"),
        ("import torch; torch.ones(1 << 50)", 1, "out of memory"),
        ("raise type('OutOfMemoryError', (RuntimeError,), {})('CUDA')", 1, "out of GPU memory"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise OSError(28, 'No space left on device', 'out.txt')", 1, "out.txt: No space left on device"),
        ("raise OSError(30, 'Read-only file system', 'out.txt')", 1, "out.txt: Read-only file system"),
        ("raise PermissionError(13, 'Permission denied', 'out.txt')", 1, "out.txt: Permission denied"),
        ("(job.out / 'log.txt').unlink()", 1, "results/echo/log.txt: was not written by the step that declares it"),
    ],
)
def test_failures_are_one_line(study: Study, failure: str, status: int, line: str) -> None:
    study.run()
    study.step(failure)
    returned, errors = study.run()
    assert returned == status
    assert errors.startswith(f"attribution.steps.echo: {line}")
    assert errors.count("\n") == 1
    assert not (study.root / "results/echo/receipt.json").exists()  # the earlier receipt no longer holds


@pytest.mark.parametrize(
    "failure", ["1 / 0", "raise FileNotFoundError(2, 'No such file', 'x')", "raise RuntimeError('x')"]
)
def test_mistakes_in_the_code_keep_their_traceback(study: Study, failure: str) -> None:
    study.step(failure)
    status, errors = study.run()
    assert status == 1
    assert "Traceback" in errors
    assert "echo.py" in errors


@pytest.mark.parametrize(
    ("more", "changes", "line"),
    [
        (["--text", "x"], {}, "--text: given twice"),
        ([], {"text": "none.txt"}, "none.txt: missing (input text)"),
        ([], {"text": "src"}, "src: missing (input text)"),
        ([], {"spec": '{"job":{},"x":NaN}'}, "spec spec.x: nan"),
        ([], {"spec": "[]"}, "--spec: must be a JSON object"),
        (["--more"], {"lock": "l1"}, ""),
    ],
)
def test_flags(study: Study, more: list[str], changes: dict[str, str], line: str) -> None:
    status, errors = study.run(*more, **changes)
    assert status == (1 if line else 0)
    assert errors.startswith(f"attribution.steps.echo: {line}" if line else "")
    assert errors.count("\n") == bool(line)


def test_bad_command_lines() -> None:
    assert job.parse(["--a", "1", "2", "--b", "--c", "-1"]) == {"a": ["1", "2"], "b": [], "c": ["-1"]}
    with pytest.raises(StudyError, match="x: a value without a flag"):
        job.parse(["x", "--a"])
    with pytest.raises(StudyError, match="--spec: needs exactly one value, got 0"):
        job.execute(lambda _: None, {}, "echo", ["--code", "c"], Path())
    with pytest.raises(StudyError, match="--spec: not JSON"):
        job.execute(lambda _: None, {}, "echo", ["--spec", "{", "--code", "c", "--lock", "l", "--out", "o"], Path())
    with pytest.raises(ValueError, match="no reproducibility class"):
        job.execute(lambda _: None, {"out.txt": "exact"}, "echo", [], Path())


def test_an_input_is_exactly_one_file() -> None:
    one = job.Job("echo", {}, Path(), {"a": [Path("x")], "b": [Path("x"), Path("y")], "c": []}, "id")
    assert one.input("a") == Path("x")
    for name, count in (("b", 2), ("c", 0), ("d", 0)):
        with pytest.raises(StudyError, match=f"--{name}: needs exactly one file, got {count}"):
            one.input(name)


def test_a_step_run_as_a_file_says_how_to_run_it(study: Study) -> None:
    done = subprocess.run(
        [sys.executable, "src/attribution/steps/echo.py"],
        cwd=study.root,
        env={"PYTHONPATH": str(study.source)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "echo.py: run it as `python -m attribution.steps.<step>`\n")


def test_termination_is_one_line_and_removes_what_is_in_the_making(study: Study) -> None:
    work = "time.sleep(60)"
    study.step(f"import time; open('ready', 'w').close()\n    try: {work}\n    finally: open('tidied', 'w').close()")
    process = study.start()
    for _ in range(600):
        if (study.root / "ready").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "attribution.steps.echo: terminated: cancelled, or out of time\n")
    assert (study.root / "tidied").exists()
    assert not (study.root / "results/echo/receipt.json").exists()


def test_nothing_else_in_the_folder_is_removed(study: Study) -> None:
    study.put("results/echo/checkpoint.safetensors", "state")
    assert study.run() == (0, "")
    assert (study.root / "results/echo/checkpoint.safetensors").read_text() == "state"
