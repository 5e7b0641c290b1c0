"""What is wrong is said in one line, by the plan where it can be known and else by the job, and ends in failure."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.workflow.dvc import locked_md5

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute
CONFIG = "config/tiny.yaml"
DIGITS = locked_md5(Path(__file__).parents[3], "digits")
PREAMBLE = "Using workflow specific profile profiles/default for setting default command line arguments."


def words(done: SimpleNamespace) -> list[str]:
    """What a dry run that failed said: its lines without Snakemake's preamble."""
    assert done.status == 1, done.text
    said = done.text.rpartition("Building DAG of jobs...\n")[2]
    return [line for line in said.splitlines() if line and line != PREAMBLE]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (CONFIG, "seed: 0", "sead: 0", "config/tiny.yaml: sead: unknown key; did you mean seed? "),
        (CONFIG, "steps: 20", "steps: 0", "config/tiny.yaml: training.steps: "),
        (CONFIG, "title: Tiny", "title: [", "config/tiny.yaml:"),
        (
            CONFIG,
            "  gradient_dot:\n",
            "  gradient_dots:\n",
            "config/tiny.yaml: methods.gradient_dots: unknown key; did you",
        ),
        ("config/config.yaml", "groups: {}", "groups: {", "config/config.yaml:"),
        ("dvc.lock", "stages:\n", "stages: [\n", "dvc.lock: unreadable or damaged"),
        ("src/attribution/methods/trak.py", "", "def broken((:\n", "methods/trak.py:"),
        (
            "src/attribution/methods/trak.py",
            "import numpy",
            "import attribution.gone, numpy",
            "attribution.gone, which",
        ),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(name, old, new, message, tree, edit, snakemake) -> None:
    edit(name, old, new)
    (line,) = words(snakemake(tree, "-n"))
    assert message in line


def test_other_studies_plan_beside_a_broken_one(tree: Path, snakemake: Callable[..., SimpleNamespace]) -> None:
    """Half-written files and editors' hidden ones; a file of the broken study, or its name, is refused in its line."""
    (tree / "config/half.yaml").write_text("data: {dataset: dig")
    (tree / "config/.#tiny.yaml").symlink_to("someone@host.1234:5678")
    (tree / "config/._tiny.yaml").write_bytes(b"\x00\x05\x16\x07")
    done = snakemake(tree, "-n", "tiny")
    assert done.status == 0, done.text
    assert done.text.count("warning: ") == 1
    assert "config/half.yaml:2: not valid YAML" in done.text
    for target in ("half", "results/half/summary/numbers/numbers.json"):
        done = snakemake(tree, "-n", target)
        assert done.status == 1, done.text
        assert "Traceback" not in done.text
        assert "config/half.yaml:2: not valid YAML" in done.text.splitlines()[-1]


def test_a_refused_plan_leaves_no_lock(tree, edit, snakemake: Callable[..., SimpleNamespace]) -> None:
    edit("dvc.lock", "stages:\n", "stages: [\n")
    assert len(words(snakemake(tree, "--cores", "1", "tiny"))) == 1
    edit("dvc.lock", "stages: [\n", "stages:\n")
    assert snakemake(tree, "--cores", "1", "tiny").status == 0


def test_a_truncated_artifact_is_made_again(tree: Path, snakemake: Callable[..., SimpleNamespace]) -> None:
    """Its receipt lists other bytes. Before, whoever read it failed, and the study with it."""
    models = tree / "results/tiny/models/full/models.safetensors"
    whole = models.read_bytes()
    models.write_bytes(whole[:-100])
    done = snakemake(tree, "--cores", "1", "results/tiny/queries/all/queries.safetensors")
    assert done.status == 0, done.text
    assert "rule train:" in done.text
    assert models.read_bytes() == whole


def test_a_dataset_of_other_bytes_is_refused(tree: Path, edit, snakemake: Callable[..., SimpleNamespace]) -> None:
    edit("dvc.lock", DIGITS, DIGITS[::-1])
    done = snakemake(tree, "--cores", "1", "results/tiny/data/images/train.safetensors")
    assert done.status == 1
    (line,) = (tree / "results/tiny/logs/dataset.log").read_text().splitlines()
    assert f"data/digits.safetensors: expected md5 {DIGITS[::-1]} (dvc.lock), found {DIGITS}; " in line


def test_a_job_of_a_tree_that_changed_is_refused(tree: Path, plain_environment: dict[str, str]) -> None:
    """As on a cluster, where a job plans again: first the run, then an edit, then the job with the run's variable."""
    script = (
        "import os; from pathlib import Path; from attribution.workflow import guard; guard.enter(Path.cwd());"
        "Path('src/attribution/training/loop.py').open('a').write('SPARE = 1\\n');"
        "from snakemake import cli; cli.main(['-n', 'tiny'])"
    )
    command, source = [sys.executable, "-c", script], {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, cwd=tree, env=plain_environment | source, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.replace(PREAMBLE, "").strip() == (
        "the study changed while it was running (src/attribution/training/loop.py changed): start the run again"
    )


def test_code_that_changes_during_a_run_is_refused(tree: Path, edit, plain_environment: dict[str, str]) -> None:
    """`tables` waits for `numbers`; its code is edited while that runs, which itself is planned and goes through."""
    (tree / "results/tiny/summary/numbers/numbers.json").unlink()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "tiny"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tree, env=plain_environment, **pipes) as run:
        said = []
        for line in run.stdout:
            said.append(line)
            if line.startswith("localrule numbers:"):
                edit("src/attribution/steps/tables.py", "", "SPARE = 1\n")
    assert run.returncode == 1, "".join(said)
    assert (tree / "results/tiny/summary/numbers/receipt.json").is_file()
    (line,) = (tree / "results/tiny/logs/tables.log").read_text().splitlines()
    assert "attribution.steps.tables, or a module imported there, changed after the run was planned" in line
