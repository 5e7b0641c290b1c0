"""Training that is killed, broken or handed damaged files: it resumes exactly, or stops with one clear line.

The long run clips most of its gradients: a norm summed in another order after a resume would show in the last bits.
"""

import json
import signal
import time

import numpy as np
import pytest

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.provenance import receipt

LONG = {
    "steps": 600,  # seconds, in which there is time to kill it
    "batch": 8,
    "learning_rate": 0.01,
    "warmup_steps": 5,
    "final_learning_rate": 0.1,
    "weight_decay": 0.01,
    "clip_norm": 0.05,
    "ema_decay": 0.9,
    "checkpoint_every": 20,
    "log_every": 20,
}
COHORT = "crn0_000_003"


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory):
    """A training job that ran through."""
    study = trained.copy(tmp_path_factory.mktemp("undisturbed"), training=LONG)
    study.run("design", cohort=COHORT)
    study.run("train", cohort=COHORT)
    return study


def prepared(undisturbed, root):
    """The same job before it began."""
    study = undisturbed.copy(root, training=LONG)
    for path in study.out("train", cohort=COHORT).iterdir():
        path.unlink()
    return study


def models(study):
    return (study.out("train", cohort=COHORT) / "models.safetensors").read_bytes()


def test_killed_and_started_again_is_undisturbed(undisturbed, tmp_path):
    """SIGKILL after some checkpoint, then the same command: the same bytes. A resume that begins anew would be right
    too, but the log shows that it does not: no step before the checkpoint is done twice.
    """
    study = prepared(undisturbed, tmp_path)
    folder = study.out("train", cohort=COHORT)
    checkpoint = folder / "checkpoint.safetensors"
    process = study.start("train", cohort=COHORT)
    deadline = time.monotonic() + 60
    while not (checkpoint.exists() and load_meta(checkpoint)["step"] >= 80):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "models.safetensors").exists()
    assert not (folder / "receipt.json").exists()
    meta = load_meta(checkpoint)
    assert 80 <= meta["step"] < 600
    before = len((folder / "log.jsonl").read_text().splitlines())
    study.run("train", cohort=COHORT)
    added = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()[before:]]
    assert added[0] == meta["step"] + 20
    assert added[-1] == 600
    assert not checkpoint.exists()
    assert meta["identity"] == study.receipt("train", cohort=COHORT)["id"]
    whole, resumed = (s.tensors("train", "models", cohort=COHORT) for s in (undisturbed, study))
    assert max(np.abs(whole[name] - resumed[name]).max() for name in whole) < 1e-2  # a fresh seed is off by 1
    assert models(study) == models(undisturbed)


def test_terminated_is_one_line(undisturbed, tmp_path):
    """SIGTERM, as a scheduler sends when time is up: status 143, no half files, and the checkpoint is kept."""
    study = prepared(undisturbed, tmp_path)
    folder = study.out("train", cohort=COHORT)
    process = study.start("train", cohort=COHORT)
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "attribution.steps.train: terminated: cancelled, or out of time"
    assert "Traceback" not in errors
    assert {path.name for path in folder.iterdir()} <= {"checkpoint.safetensors", "log.jsonl"}


def test_a_checkpoint_of_another_job_is_ignored(undisturbed, tmp_path):
    study = prepared(undisturbed, tmp_path)
    checkpoint = study.out("train", cohort=COHORT) / "checkpoint.safetensors"
    other = {
        name: np.full_like(value, 7.0) for name, value in undisturbed.tensors("train", "models", cohort=COHORT).items()
    }
    state = {
        f"{part}/{name}": value for part in ("params", "ema", "exp_avg", "exp_avg_sq") for name, value in other.items()
    }
    save_tensors(checkpoint, state, {"identity": "another job", "step": 400})
    study.run("train", cohort=COHORT)
    assert models(study) == models(undisturbed)
    assert not checkpoint.exists()


def test_a_damaged_checkpoint_is_refused(undisturbed, tmp_path):
    study = prepared(undisturbed, tmp_path)
    (study.out("train", cohort=COHORT) / "checkpoint.safetensors").write_bytes(b"half of it")
    with pytest.raises(StudyError, match=r"checkpoint\.safetensors: truncated or damaged .* delete its folder"):
        study.run("train", cohort=COHORT)


def failed(process):
    """Its one line on stderr."""
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    lines = [line for line in errors.replace("\r", "\n").splitlines() if "it/s" not in line and "s/it" not in line]
    lines = [line for line in lines if "?it" not in line and line.strip()]
    assert len(lines) == 1, errors
    assert out == ""
    return lines[0]


def test_truncated_models_stop_the_next_step(trained, tmp_path):
    study = trained.copy(tmp_path)
    path = study.out("train", cohort="full") / "models.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    line = failed(study.start("queries"))
    assert line == (
        "attribution.steps.queries: results/tiny/models/full/models.safetensors: does not match its receipt "
        "(truncated or edited); delete its folder and rerun"
    )
    assert not study.out("queries").exists()
    (path.parent / receipt.NAME).unlink()  # files that came without one are checked as they are read
    with pytest.raises(StudyError, match=r"models\.safetensors: truncated or damaged .* delete its folder"):
        study.run("queries")


def test_divergence_stops_the_step(trained, tmp_path):
    study = trained.copy(tmp_path, training=LONG | {"learning_rate": 1e30, "warmup_steps": 0})
    (study.out("train", cohort="full") / "models.safetensors").unlink()
    line = failed(study.start("train", cohort="full"))
    assert line.startswith("attribution.steps.train: training of full: loss at step ")
    assert "last good checkpoint: step 0. Lower training.learning_rate" in line
    assert not (study.out("train", cohort="full") / "models.safetensors").exists()
    assert not (study.out("train", cohort="full") / "receipt.json").exists()


def test_an_absent_input_is_named(trained, tmp_path):
    study = trained.copy(tmp_path)
    (study.root / "results/tiny/data/images/heldout.safetensors").unlink()
    with pytest.raises(StudyError, match=r"heldout\.safetensors: missing \(input heldout\); rerun the job that makes"):
        study.run("queries")


def test_a_batch_larger_than_a_subset_is_refused(trained, tmp_path):
    study = trained.copy(tmp_path, training=LONG | {"batch": 41})
    with pytest.raises(StudyError, match=r"training\.batch is 41, a subset has 40 examples"):
        study.run("train", cohort="full")


def test_a_cohort_is_no_full_model(undisturbed, tmp_path):
    study = undisturbed.copy(tmp_path)
    folder = study.out("train", cohort="full")
    (folder / receipt.NAME).unlink()
    (folder / "models.safetensors").write_bytes(models(undisturbed))
    with pytest.raises(StudyError, match="holds no model .full."):
        study.run("queries")


def test_losses_that_are_not_finite_are_refused(trained, tmp_path):
    study = trained.copy(tmp_path)
    study.run("queries")
    folder = study.out("train", cohort="full")
    tensors = load_tensors(folder / "models.safetensors")
    tensors["outer.bias"] = np.full_like(tensors["outer.bias"], np.inf)
    save_tensors(folder / "models.safetensors", tensors, {"names": ["full"]})
    (folder / receipt.NAME).unlink()
    with pytest.raises(StudyError, match=r"models\.safetensors: the loss of some query is not finite"):
        study.run("measure", cohort="full")
