"""A dataset's file passes only with the bytes that dvc.lock names; a missing one is pulled, else built."""

import hashlib
import subprocess
import sys
import threading
import time

import pytest

from attribution.data import provide as module
from attribution.data.provide import provide
from attribution.errors import StudyError

GOOD = b"the dataset"
MD5 = hashlib.md5(GOOD).hexdigest()


def never(*_arguments, **_options):
    raise AssertionError("must not be called here")


def builds(content):
    return lambda _stage, path: path.write_bytes(content)


@pytest.fixture
def no_dvc(monkeypatch):
    monkeypatch.setattr(module, "_pull", lambda _stage: False)


def test_present_and_equal_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_pull", never)
    monkeypatch.setattr(module, "_build", never)
    path = tmp_path / "toy"
    path.write_bytes(GOOD)
    provide(path, "toy", MD5)
    assert path.read_bytes() == GOOD


def test_absent_is_built_and_checked(tmp_path, monkeypatch, no_dvc):
    path = tmp_path / "data" / "toy"
    monkeypatch.setattr(module, "_build", builds(GOOD))
    provide(path, "toy", MD5)
    assert path.read_bytes() == GOOD
    path.unlink()
    monkeypatch.setattr(module, "_build", builds(b"changed loader"))
    with pytest.raises(StudyError, match=rf"expected md5 {MD5} \(dvc\.lock\), found .*run dvc repro toy") as caught:
        provide(path, "toy", MD5)
    assert "\n" not in str(caught.value)


def test_different_content_is_refused_and_kept(tmp_path, monkeypatch, no_dvc):
    monkeypatch.setattr(module, "_build", never)
    path = tmp_path / "toy"
    path.write_bytes(b"edited by hand")
    found = hashlib.md5(b"edited by hand").hexdigest()
    with pytest.raises(StudyError, match=rf"toy: expected md5 {MD5} \(dvc\.lock\), found {found}; delete it") as caught:
        provide(path, "toy", MD5)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"edited by hand"


def test_a_stage_that_dvc_lock_does_not_know_names_the_command(tmp_path):
    with pytest.raises(StudyError, match=r"run: dvc repro toy, then commit dvc\.lock"):
        provide(tmp_path / "toy", "toy", None)


def test_no_dvc_command_runs_inside_dvc_repro(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "digits_study")
    monkeypatch.setattr(module, "_build", builds(GOOD))
    monkeypatch.setattr(module.subprocess, "run", never)
    provide(tmp_path / "toy", "toy", MD5)
    monkeypatch.delenv("DVC_STAGE")
    (tmp_path / "toy").unlink()
    with pytest.raises(AssertionError):  # outside of it, DVC is asked: the check above is not idle
        provide(tmp_path / "toy", "toy", MD5)


def test_a_build_that_fails_is_one_line_with_its_reason(tmp_path, no_dvc):
    with pytest.raises(StudyError, match=r"toy: could not be built \(.*invalid choice: 'toy'") as caught:
        provide(tmp_path / "toy", "toy", MD5)
    assert "\n" not in str(caught.value)


def test_jobs_that_need_the_same_file_build_it_once(tmp_path, monkeypatch, no_dvc):
    built = []

    def slow(_stage, path):
        built.append(path)
        time.sleep(0.2)
        path.write_bytes(GOOD)

    monkeypatch.setattr(module, "_build", slow)
    jobs = [threading.Thread(target=provide, args=(tmp_path / "toy", "toy", MD5)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(built) == 1


def test_a_lost_file_comes_back_from_dvc(tmp_path, monkeypatch):
    """With DVC itself: a toy repository whose stage is built once, deleted and provided again without building."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(module, "_build", never)
    (tmp_path / "dvc.yaml").write_text("stages: {toy: {cmd: printf 'the dataset' > toy, outs: [toy]}}\n")
    for arguments in (["init", "--no-scm", "--quiet"], ["repro", "--quiet", "toy"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)
    (tmp_path / "toy").unlink()
    provide(tmp_path / "toy", "toy", MD5)
    assert (tmp_path / "toy").read_bytes() == GOOD
