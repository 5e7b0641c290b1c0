"""Runs that are killed, disks that are full or read-only, clocks that are wrong, two runs at once: afterwards the same
command, and nothing else, ends in the very results of an undisturbed run.

    STUDY=smoke pytest tests/workflow/tiny/test_snakemake_faults.py -k 20_moments        kills another study
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.provenance import believe, receipt
from attribution.workflow import exclusive

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute
KILLS = 20
SECONDS = 600.0  # nothing here takes longer on a busy machine
STUDY = os.environ.get("STUDY", "tiny")
HOME = Path("results", STUDY)
SUMMARY = HOME / "summary"
RUN = ("--cores", "2", STUDY)
OWN = {"run", "seal", "outputs"}  # of a receipt: what differs between two runs


@pytest.fixture(scope="module")
def contents(untimed: Callable[[object], object]) -> Callable[[Path], dict[str, object]]:
    """Every file of the study by its path, hidden ones too: its bytes; of JSON, and of a log, what is not time."""

    def read(tree: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(path for path in (tree / HOME).rglob("*") if path.is_file()):
            name = path.relative_to(tree / HOME).as_posix()
            if name == "report.html" or name.split("/")[0] in believe.APART:
                continue
            found[name] = untimed(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()
            if path.name == receipt.NAME:
                found[name] = {key: value for key, value in found[name].items() if key not in OWN}
            if path.suffix == ".jsonl":
                found[name] = [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        return found

    return read


@pytest.fixture(scope="module")
def undisturbed(finished: Path, contents: Callable[[Path], dict[str, object]]) -> dict[str, object]:
    return contents(finished)


@pytest.fixture
def begin(warm: list[str], environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Starts a run of the study whose output goes to a file, `said` names it; the run ends with the test."""
    begun = []

    def start(tree: Path) -> subprocess.Popen:
        said = tmp_path / f"run{len(begun)}.log"
        with said.open("w") as file:
            command = [*warm, "-m", "snakemake", *RUN]
            process = subprocess.Popen(command, cwd=tree, env=environment, stdout=file, stderr=subprocess.STDOUT)
        process.said = said
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


def eventually(true: Callable[[], object]) -> object:
    deadline = time.monotonic() + SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found


def receipts(tree: Path) -> int:
    return sum(receipt.NAME in names for _, _, names in os.walk(tree / HOME))


def completed(tree: Path, snakemake: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """The same command once more, and what it says."""
    done = snakemake(tree, *RUN)
    assert done.status == 0, done.text
    return done


def ahead(folder: Path) -> None:
    """Files of the future, in the order of their making."""
    for second, path in enumerate(sorted(folder.rglob("*"), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (4_000_000_000 + second,) * 2)


def refused(done: SimpleNamespace, message: str) -> None:
    """That a run failed, and said why in one line for each job that did, without a traceback."""
    assert done.status == 1, done.text
    assert "Traceback" not in done.text
    lines = set(re.findall(message, done.text, re.MULTILINE))
    assert lines, done.text
    assert len({line.split(":")[0] for line in lines}) == len(lines), done.text  # two jobs may have run at once


@pytest.fixture
def mounted() -> Iterator[Callable[..., Path]]:
    """Mounts what `mount` is told over a folder, until the end of the test; skips where that is not allowed."""
    places = []

    def mount(folder: Path, *arguments: str) -> Path:
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
        if done.returncode and not places:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        places.append(folder)
        return folder

    yield mount
    for place in dict.fromkeys(places):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_study_that_is_killed_at_20_moments_is_that_of_a_run_that_was_not(
    tree, undisturbed, contents, begin, snakemake, planned
) -> None:
    """SIGKILL for Snakemake and all its jobs, at random moments over the whole of the study."""
    rng, jobs = random.Random(0), receipts(tree)
    for results in (HOME, ".snakemake"):
        shutil.rmtree(tree / results)
    for moment in sorted(rng.randrange(jobs - 2) for _ in range(KILLS)):
        run = begin(tree)
        eventually(lambda run=run, moment=moment: receipts(tree) >= moment or run.poll() is not None)
        time.sleep(rng.uniform(0, 0.5))
        assert run.poll() is None, run.said.read_text()
        run.kill()
        assert run.wait() == -signal.SIGKILL
    completed(tree, snakemake)
    assert contents(tree) == undisturbed
    assert planned(tree, STUDY) == set()


def test_of_two_runs_at_once_one_makes_the_study(tree, undisturbed, contents, begin, snakemake) -> None:
    (tree / SUMMARY / "numbers/numbers.json").unlink()
    runs = [begin(tree), begin(tree)]
    ends = sorted((run.wait(), run.said.read_text()) for run in runs)
    assert ends[0][0] == 0
    if ends[1][0]:  # else it began when the other had ended
        owner = r"process \d+ on \S+ since \S+, executor local"
        message = rf"^tiny: another run is making it \({owner}\); wait for it, or end it$"
        assert len(re.findall(message, ends[1][1], re.MULTILINE)) == 1
        assert "Traceback" not in ends[1][1]
    assert "Nothing to be done" in completed(tree, snakemake).text
    assert contents(tree) == undisturbed


def test_a_run_beside_another_is_refused_in_one_line_and_plans_as_before(
    tree, undisturbed, contents, snakemake, planned
) -> None:
    (tree / SUMMARY / "tables/lds.csv").unlink()
    script = (
        "from attribution.workflow import exclusive; exclusive.hold('.', ['tiny']); print('held', flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    source = os.environ | {"PYTHONPATH": str(tree / "src")}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tree, env=source, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        refused(snakemake(tree, *RUN), rf"^tiny: another run is making it \(process {other.pid} on .*\); wait for it")
        assert planned(tree) == {"tables"}
        other.kill()
    completed(tree, snakemake)  # and nothing is to be unlocked
    assert contents(tree) == undisturbed


def test_jobs_that_go_on_when_snakemake_is_killed(tree, undisturbed, contents, begin, snakemake, planned) -> None:
    """As those of a cluster do: the next run waits for a job that still writes a folder, and does it again."""
    for part in ("numbers", "tables", "figures"):
        shutil.rmtree(tree / SUMMARY / part)
    run = begin(tree)
    eventually(lambda: "localrule numbers:" in run.said.read_text())
    pid = re.match(r"process (\d+) ", (tree / exclusive.FOLDER / "tiny").read_text())[1]
    os.kill(int(pid), signal.SIGKILL)  # Snakemake's own process alone
    assert run.wait()
    completed(tree, snakemake)
    assert contents(tree) == undisturbed
    assert planned(tree) == set()


@pytest.mark.parametrize("gone", ["receipts", "records", "receipts and records"])
def test_what_a_kill_may_leave_is_seen(gone, tree, configure, planned) -> None:
    """Outputs without a receipt, that nothing marks; outputs of a job that finished without Snakemake."""
    folder = HOME / "models/crn0_000_007"
    names = [path.name for path in (tree / folder).iterdir()]
    if "records" in gone:
        for name in names:
            believe._place(tree, believe.RECORDS, tree / folder / name).unlink()
    if "receipts" in gone:
        (tree / folder / receipt.NAME).unlink()
        assert planned(tree) >= {"train/crn0_000_007", "measure/crn0_000_007", "lds/trak", "numbers"}
        return
    assert planned(tree) == set()
    configure(lambda study: study["training"].update(steps=21))
    assert "train/crn0_000_007" in planned(tree)


def test_a_full_disk_is_one_line_and_room_completes(tree, undisturbed, contents, snakemake, mounted, planned) -> None:
    """A disk of 300 kB for the summary, which takes more."""
    shutil.rmtree(tree / SUMMARY)
    (tree / SUMMARY).mkdir()
    place = mounted(tree / SUMMARY, "-t", "tmpfs", "-o", "size=300k", "tmpfs")
    refused(snakemake(tree, *RUN), r"^attribution\.steps\.\w+: results/tiny/summary/\S+: .*No space left on device")
    mounted(place, "-o", "remount,size=64m")
    completed(tree, snakemake)
    assert contents(tree) == undisturbed
    assert planned(tree) == set()


def test_a_read_only_folder_is_one_line_and_still_planned(
    tree, undisturbed, contents, snakemake, mounted, planned
) -> None:
    for part in ("numbers", "tables"):
        shutil.rmtree(tree / SUMMARY / part)
    place = mounted(tree / HOME, "--bind", str(tree / HOME))
    mounted(place, "-o", "remount,ro,bind")
    assert planned(tree) == {"numbers", "tables"}
    refused(snakemake(tree, *RUN), r"^results/tiny: cannot be written \(read-only\)$")
    mounted(place, "-o", "remount,rw,bind")
    completed(tree, snakemake)
    assert contents(tree) == undisturbed


def test_results_of_a_clock_that_was_ahead(tree, configure, snakemake, planned) -> None:
    """What is made now is older than what it is made of, and than what was made of it before."""
    ahead(tree / HOME)
    configure(lambda study: study["methods"]["dtrak"].update(dampings=[0.1, 20.0]))
    below = planned(tree)
    done = snakemake(tree, "--cores", "2", f"{HOME}/scores/full/dtrak/scores.safetensors")
    assert done.status == 0, done.text
    ahead(tree / HOME / "lds/dtrak")
    assert planned(tree) == below - {"score_gradients/full_dtrak"} != set()
    completed(tree, snakemake)
    assert planned(tree) == set()


def test_results_of_a_clock_that_was_behind_are_compared_by_their_bytes(tree, undisturbed, planned) -> None:
    for path in (tree / HOME).rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert planned(tree) == set()
