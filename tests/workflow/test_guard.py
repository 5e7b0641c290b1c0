"""A run refuses a tree that changed under it, and says which files; comments and notes may change."""

import os
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow import fingerprint, guard

FILES = {
    "Snakefile": "rule all:\n",
    "workflow/rules/train.smk": "rule train:\n",
    "config/digits.yaml": "seed: 0\n",
    "config/README.md": "# Configs\n",
    "envs/cpu.lock.txt": "torch==2.13.0\n",
    "dvc.lock": "stages: {}\n",
    "src/attribution/steps/train.py": "STEPS = 1\n",
    "results/digits/full/model.safetensors": "weights",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(guard.VARIABLE, raising=False)
    tree = tmp_path / "study"
    for name, text in FILES.items():
        put(tree, name, text)
    return tree


def put(tree: Path, name: str, text: str) -> None:
    """Write a file; its time moves on by its length, as two writes within a clock tick would look alike."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = path.stat().st_mtime_ns + 10_000_000_000 if path.exists() else None
    path.write_text(text)
    if stamp:
        os.utime(path, ns=(stamp, stamp))


def test_manifest_holds_what_a_run_reads(root: Path) -> None:
    put(root, "workflow/rules/.train.smk.swp", "")
    put(root, "config/digits.yaml~", "")
    put(root, "src/attribution/__pycache__/x.py", "")
    assert list(guard.manifest(root)) == sorted(
        set(FILES) - {"config/README.md", "results/digits/full/model.safetensors"}
    )


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("Snakefile", "rule none:\n", "changed"),
        ("workflow/rules/train.smk", "rule train: # x\n", "changed"),
        ("workflow/rules/score.smk", "rule score:\n", "added"),
        ("config/digits.yaml", "seed: 1\n", "changed"),
        ("envs/cpu.lock.txt", "torch==2.13.1\n", "changed"),
        ("dvc.lock", "stages: {a: 1}\n", "changed"),
        ("src/attribution/steps/train.py", "STEPS = 2\n", "changed"),
        ("src/attribution/steps/score.py", "X = 1\n", "added"),
        ("dvc.lock", None, "removed"),
    ],
)
def test_a_job_of_a_changed_tree_is_refused(root: Path, name: str, text: str | None, kind: str) -> None:
    guard.enter(root)
    guard.enter(root)  # a job of the unchanged tree
    if text is None:
        (root / name).unlink()
    else:
        put(root, name, text)
    with pytest.raises(StudyError) as refusal:
        guard.enter(root)
    assert f"({name} {kind})" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("src/attribution/steps/train.py", '"""Train."""\n\n# one\nSTEPS = 1\n'),
        ("config/README.md", "# Studies\n"),
        ("results/digits/full/model.safetensors", "others"),
        ("docs/methods.md", "text"),
    ],
)
def test_what_a_run_does_not_read_may_change(root: Path, name: str, text: str) -> None:
    guard.enter(root)
    put(root, name, text)
    guard.enter(root)


def test_a_tree_that_changed_back_is_the_same_tree(root: Path) -> None:
    guard.enter(root)
    put(root, "config/digits.yaml", "seed: 1\n")
    put(root, "config/digits.yaml", "seed: 0\n")
    guard.enter(root)


def test_a_new_run_of_the_changed_tree_begins_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = guard.enter(root)
    monkeypatch.delenv(guard.VARIABLE)
    put(root, "config/digits.yaml", "seed: 1\n")
    assert guard.enter(root) != first


def test_another_tree_is_another_run(root: Path, tmp_path: Path) -> None:
    guard.enter(root)
    put(tmp_path / "other", "Snakefile", "rule none:\n")
    path = guard.enter(tmp_path / "other")
    assert path.is_relative_to(tmp_path / "other")


def test_a_node_may_know_the_tree_by_another_path(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = guard.enter(root)
    linked = tmp_path / "mount"
    linked.symlink_to(root, target_is_directory=True)
    monkeypatch.setenv(guard.VARIABLE, str(linked / begun.relative_to(root)))
    guard.enter(root)
    put(root, "config/digits.yaml", "seed: 1\n")
    with pytest.raises(StudyError, match=r"config/digits\.yaml changed"):
        guard.enter(root)
    monkeypatch.setenv(guard.VARIABLE, str(tmp_path / "not_mounted_here" / begun.name))
    with pytest.raises(StudyError, match=r"config/digits\.yaml changed"):
        guard.enter(root)


def test_dry_runs_of_one_tree_share_a_manifest_and_old_ones_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for seed in range(guard.KEPT + 3):
        put(root, "config/digits.yaml", f"seed: {seed}\n")
        for _ in range(2):
            monkeypatch.delenv(guard.VARIABLE, raising=False)
            path = guard.enter(root)
        os.utime(path, ns=(seed * 10**9, seed * 10**9))
        written.append(path)
    assert sorted((root / guard.FOLDER).glob("*.json")) == sorted(written[-guard.KEPT :])


def test_a_lost_manifest_still_tells_same_from_changed(root: Path) -> None:
    guard.enter(root).unlink()
    guard.enter(root)
    put(root, "config/digits.yaml", "seed: 1\n")
    with pytest.raises(StudyError, match="the files cannot be named"):
        guard.enter(root)


def test_code_of_a_job_is_the_planned_one(root: Path) -> None:
    modules = ("attribution.steps.train",)
    for package in ("attribution", "attribution/steps"):
        put(root, f"src/{package}/__init__.py", "")
    planned = fingerprint.fingerprint(*modules, root=root / "src")
    assert guard.check_code(modules, planned.hash, root / "src") == planned
    put(root, "src/attribution/steps/train.py", "STEPS = 3\n")
    with pytest.raises(StudyError, match=r"code of attribution\.steps\.train.* changed after the run was planned"):
        guard.check_code(modules, planned.hash, root / "src")
