"""The fingerprint changes where the code may compute something else, and nowhere else."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.errors import StudyError
from attribution.workflow import commands
from attribution.workflow.fingerprint import SOURCE, file_hash, fingerprint, roots

TREE = {
    "attribution/__init__.py": "",
    "attribution/errors.py": "class StudyError(Exception): pass\n",
    "attribution/core/__init__.py": "",
    "attribution/core/rng.py": "def key(seed):\n    return seed * 2\n",
    "attribution/core/unused.py": "X = 1\n",
    "attribution/training/__init__.py": "",
    "attribution/training/loop.py": "from attribution.core import rng\n\n\ndef fit():\n    return rng.key(1)\n",
    "attribution/training/late.py": "RATE = 3\n",
    "attribution/methods/__init__.py": "",
    "attribution/methods/trak.py": "def score():\n    return 1\n",
    "attribution/workflow/__init__.py": "",
    "attribution/workflow/paths.py": "WIDTH = 3\n",
    "attribution/steps/__init__.py": "",
    "attribution/steps/train.py": (
        '"""Train."""\n\nimport json\n\nfrom attribution.errors import StudyError\n'
        "from attribution.training.loop import fit\nfrom attribution.workflow import paths\n\n\n"
        "def run(job):\n"
        '    """Run it."""\n'
        "    from attribution.training import late\n\n"
        "    # a comment\n"
        "    return fit() + late.RATE\n"
    ),
}
STEP = "attribution/steps/train.py"
RULE = """\
rule a:
    output:
        "x",
    shell:
        "python -m attribution.steps.train"
        " --out x"


"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(source: Path, name: str, old: str, new: str) -> None:
    """Replace text in a file and move its time on, so that an edit of the same length within a clock tick counts."""
    path = source / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    later = path.stat().st_mtime_ns + 10_000_000_000
    os.utime(path, ns=(later, later))


def of(source: Path) -> str:
    return fingerprint(*roots("train"), root=source).hash


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (STEP, "# a comment", "# another one"),
        (STEP, '"""Train."""', '"""Train the models of a cohort."""'),
        (STEP, '"""Train."""\n', ""),
        (STEP, '"""Run it."""', '"""Run the step."""'),
        (STEP, "    # a comment\n", "\n\n    # a comment\n\n"),
        (STEP, "fit() + late.RATE", "(\n        fit()\n        + late.RATE\n    )"),
        ("attribution/core/rng.py", "def key", "# why\ndef key"),
        ("attribution/core/unused.py", "1", "2"),
        ("attribution/methods/trak.py", "1", "2"),
        ("attribution/errors.py", "pass", "x = 1"),
        ("attribution/workflow/paths.py", "3", "4"),
    ],
)
def test_what_computes_nothing_changes_nothing(source: Path, name: str, old: str, new: str) -> None:
    before = of(source)
    edit(source, name, old, new)
    assert of(source) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (STEP, "fit() + late", "fit() - late"),
        (STEP, "from attribution.training.loop import fit\n", "from attribution.training.loop import fit as fit\n"),
        ("attribution/training/loop.py", "key(1)", "key(2)"),
        ("attribution/core/rng.py", "seed * 2", "seed * 3"),  # reached through training.loop
        ("attribution/core/rng.py", "seed * 2", "seed * 2.0"),
        ("attribution/training/late.py", "3", "4"),  # imported inside a function, as a submodule
    ],
)
def test_what_may_compute_something_else_changes_it(source: Path, name: str, old: str, new: str) -> None:
    before = of(source)
    edit(source, name, old, new)
    assert of(source) != before


@pytest.mark.parametrize("package", ["core", "steps"])  # steps is reached only as what the step lies in
def test_code_in_a_package_counts_but_an_empty_one_does_not(source: Path, package: str) -> None:
    before = fingerprint(*roots("train"), root=source)
    assert f"attribution.{package}" not in before.modules
    (source / "attribution" / package / "__init__.py").write_text("DTYPE = 32\n")
    after = fingerprint(*roots("train"), root=source)
    assert after.hash != before.hash
    assert set(after.modules) - set(before.modules) == {f"attribution.{package}"}


def test_closure_lists_just_the_modules_that_are_imported(source: Path) -> None:
    assert list(fingerprint(*roots("train"), root=source).modules) == [
        "attribution.core.rng",
        "attribution.steps.train",
        "attribution.training.late",
        "attribution.training.loop",
    ]


def test_method_of_a_job_is_part_of_its_code(source: Path) -> None:
    assert roots("score", "trak") == ("attribution.steps.score", "attribution.methods.trak")
    before = fingerprint(*roots("train", "trak"), root=source).hash
    assert before != of(source)
    edit(source, "attribution/methods/trak.py", "1", "2")
    assert fingerprint(*roots("train", "trak"), root=source).hash != before


def test_moved_code_is_other_code(source: Path) -> None:
    """Hashes alone would not see two modules swapping their contents."""
    before = of(source)
    late, loop = (source / "attribution/training" / name for name in ("late.py", "loop.py"))
    first, second = late.read_text(), loop.read_text()
    late.write_text(second)
    loop.write_text(first)
    assert of(source) != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from . import other\n", "loop.py:1: relative import"),
        ("x = 1\nimport attribution.nothing\n", r"loop.py:2: needs the module attribution\.nothing"),
        ("def broken(:\n", "loop.py:1: not valid Python"),
    ],
)
def test_refusals_name_file_and_line(source: Path, text: str, message: str) -> None:
    (source / "attribution/training/loop.py").write_text(text)
    with pytest.raises(StudyError, match=message):
        of(source)


def test_unknown_step_is_one_line(source: Path) -> None:
    with pytest.raises(StudyError, match=r"needs the module attribution\.steps\.trian, which does not exist"):
        fingerprint(*roots("trian"), root=source)


@pytest.mark.parametrize("name", ["rng/__init__.py", "rng.pyc", "rng.abi3.so", "rng/__init__.pyc"])
def test_a_module_that_is_there_twice_is_refused(source: Path, name: str) -> None:
    """Old: rng.py is read, whichever of the two Python imports."""
    path = source / "attribution/core" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(StudyError, match=r"^attribution\.core\.rng: is there twice, .*rng.* and .*rng"):
        of(source)
    (source / "attribution/core/rng.py").unlink()
    if not name.endswith("py"):
        with pytest.raises(StudyError, match=r"^attribution\.core\.rng: .* is no source file"):
            of(source)


def test_the_command_of_a_step_is_part_of_its_code(source: Path) -> None:
    tree = source / "tree"
    shutil.copytree(source / "attribution", tree / "src/attribution")
    rules = tree / "workflow/rules/models.smk"
    rules.parent.mkdir(parents=True)
    bare = of(tree / "src")
    found = set()
    for shell in (RULE, RULE.replace("--out x", "--out y"), RULE.replace("train", "measure")):
        rules.write_text(shell)
        found.add(of(tree / "src"))
    assert len(found) == 3
    assert bare in found  # the command of another step is no part of it
    rules.write_text(
        RULE.replace('        " --out', '        # Where.\n        " --" "out').replace("rule a", "rule b")
    )
    assert of(tree / "src") in found - {bare}
    rules.write_text(RULE.replace(" x", " x{CONSTANT}").replace('"', 'f"'))
    with pytest.raises(StudyError, match=r"models\.smk: a shell: that is not plain strings"):
        of(tree / "src")
    rules.write_text(RULE + RULE)
    with pytest.raises(StudyError, match="the step train is called by two rules"):
        of(tree / "src")


def test_snakemake_runs_the_commands_that_are_read(source: Path) -> None:
    rules = source / "workflow/rules/models.smk"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULE)
    command = "python -m attribution.steps.train --out x"
    assert commands.read(source) == {"train": command}
    commands.check(
        source, [SimpleNamespace(name="train", shellcmd=command), SimpleNamespace(name="all", shellcmd=None)]
    )
    for name, text in (("train", f"{command} "), ("other", command)):
        with pytest.raises(StudyError, match=f"^rule {name}: its shell: must be plain strings"):
            commands.check(source, [SimpleNamespace(name=name, shellcmd=text)])


def test_same_in_another_process_and_under_another_path(source: Path, tmp_path: Path) -> None:
    """Set order differs from process to process, and no absolute path may enter."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (source / "attribution").rename(copy / "attribution")
    script = (
        "import sys; from attribution.workflow.fingerprint import *;"
        f"print(fingerprint(*roots('train'), root={str(copy)!r}).hash)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert runs == [of(copy)] * 2


def test_a_module_is_parsed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SOURCE / "attribution/workflow/fingerprint.py").read_text()
    body = text[text.index("def fingerprint") :]
    package = tmp_path / "attribution" / "steps"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    for number in range(80):
        following = f"import attribution.steps.m{number + 1}\n" if number < 79 else ""
        (package / f"m{number}.py").write_text(f"{following}N = {number}\n{body}")
    parsed: list[bytes] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda source: parsed.append(source) or parse(source))
    cold = fingerprint("attribution.steps.m0", root=tmp_path)
    assert len(cold.modules) == len(parsed) == len(set(parsed)) == 80
    assert fingerprint("attribution.steps.m0", root=tmp_path) == cold
    (package / "m40.py").write_text("N = 40\n")
    assert len(fingerprint("attribution.steps.m0", root=tmp_path).modules) == 41
    assert parsed[80:] == [b"N = 40\n"]


def test_two_docstrings_are_one_docstring_and_one_statement(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text('def f():\n    "a"\n    "b"\n')
    second.write_text('def f():\n    "c"\n    "b"\n')
    assert file_hash(first) == file_hash(second)
    third = tmp_path / "third.py"
    third.write_text('def f():\n    return "b"\n')
    assert file_hash(third) != file_hash(first)
