"""dvc.lock is read as DVC writes it; absent means unknown, damaged means a clear line."""

import subprocess
import sys
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow.dvc import dataset_path, file_md5, locked_md5

ROOT = Path(__file__).parents[2]
LOCK = """\
schema: '2.0'
stages:
  toy:
    cmd: make toy
    deps: [{path: data/toy.safetensors, hash: md5, md5: 0badbadbadbadbadbadbadbadbadbad0, size: 3}]
    outs:
    - {path: data/notes.txt, hash: md5, md5: 1badbadbadbadbadbadbadbadbadbad1, size: 3}
    - {path: data/toy.safetensors, hash: md5, md5: 00112233445566778899aabbccddeeff, size: 3}
"""


def test_the_outs_md5_is_found_not_the_deps_or_another_outs(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert locked_md5(tmp_path, "toy") == "00112233445566778899aabbccddeeff"


def test_unknown_stage_and_no_lock_are_none(tmp_path):
    assert locked_md5(tmp_path, "toy") is None
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert locked_md5(tmp_path, "cifar10") is None
    (tmp_path / "dvc.lock").write_text("")
    assert locked_md5(tmp_path, "toy") is None


@pytest.mark.parametrize("text", ["stages: [", "stages: [1]", "{stages: {toy: {outs: [1]}}}", "\x00"])
def test_damaged_lock_names_the_fix(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(StudyError, match=r"dvc\.lock: unreadable or damaged .*git checkout dvc\.lock") as caught:
        locked_md5(tmp_path, "toy")
    assert "\n" not in str(caught.value)


def test_the_projects_lock_names_what_its_loader_makes_today(tmp_path):
    out = tmp_path / "digits.safetensors"
    command = [sys.executable, "-m", "attribution.steps.build_dataset", "digits", "--out", out]
    subprocess.run(command, check=True, cwd=ROOT)
    assert dataset_path("digits") == "data/digits.safetensors"
    assert locked_md5(ROOT, "digits") == file_md5(out)
