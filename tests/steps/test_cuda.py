"""Every job on a GPU, given the very files of a run on the CPU: nothing in a step may assume where its tensors are.

Skipped where there is no GPU. Tolerances are for float32 sums in another order; a tensor on the wrong device fails.
"""

import numpy as np
import pytest
import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

OPTIONS = {"downsample_padding": 0, "dropout": 0.1, "resnet_time_scale_shift": "scale_shift"}
TRAINED = ("train", "checkpoints", "unlearn")  # rounding grows with every step
LOOSE, CLOSE = 0.05, 2e-3  # of the largest entry


def on_cpu(patch):
    choose = devices.choose
    patch.setattr(devices, "choose", lambda: choose() and torch.device("cpu"))


def made_on_cpu(new, root, **changes):
    """The study on the CPU, from its images to its figures."""
    study = new(root, **changes).images()
    with pytest.MonkeyPatch.context() as patch:
        on_cpu(patch)
        for end in ("numbers", "tables", "figures", "ablation"):
            study.make(f"results/tiny/summary/{end}")
    return study


@pytest.fixture(scope="module", params=["mlp", "unet"])
def whole(request, new_study, tmp_path_factory, unet):
    changes = {} if request.param == "mlp" else {"denoiser": unet | OPTIONS}
    return made_on_cpu(new_study, tmp_path_factory.mktemp(request.param), **changes)


def test_every_job(whole, tmp_path):
    """Receipts say that a GPU did it, and every tensor is that of the CPU."""
    unlike, used = [], set()
    for number, (rule, wildcards) in enumerate(whole.jobs):
        before = {path.name: load_tensors(path) for path in whole.out(rule, **wildcards).glob("*.safetensors")}
        study = whole.copy(tmp_path / str(number), denoiser=whole.config["denoiser"])
        study.run(rule, **wildcards)
        if study.receipt(rule, **wildcards)["environment"].get("device", "").startswith("cuda"):
            used.add(rule)
        for name, tensors in before.items():
            after = load_tensors(study.out(rule, **wildcards) / name)
            assert after.keys() == tensors.keys()
            limit = LOOSE if rule in TRAINED else CLOSE
            for key, value in tensors.items():
                assert (after[key].shape, after[key].dtype) == (value.shape, value.dtype)
                if value.dtype.kind != "f" or (rule == "basis" and key.startswith("Q")):
                    continue  # eigenvectors have no sign
                gap, size = np.abs(after[key] - value).max(initial=0), np.abs(value).max(initial=0)
                if not gap <= limit * size + 1e-6:
                    unlike.append(f"{rule} {wildcards} {name} {key}: {gap:.2g} of {size:.2g}")
    assert {"train", "queries", "measure", "gradients", "factors", "basis", "eigenvalues", "rotate", "gram"} <= used
    assert {"score_influence", "score_curvature", "unlearn", "unlearn_newton", "ablate", "sweep_draws"} <= used
    assert not unlike, "\n".join(unlike)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_precisions_train_on_a_gpu(whole, tmp_path, precision):
    """Weights stay float32; the loss is that of float32 to a few per cent."""
    training = whole.config["training"] | {"precision": precision}
    study = whole.copy(tmp_path, denoiser=whole.config["denoiser"], training=training)
    study.run("train", cohort="full")
    for name, value in study.tensors("train", "models", cohort="full").items():
        assert value.dtype == np.float32, name
    assert study.receipt("train", cohort="full")["notes"]["precision"] == precision


def test_a_stopped_training_resumes_alike(whole, tmp_path):
    """Dropout and noise are functions of the step: a run from the checkpoint in the middle ends in the same weights."""
    study = whole.copy(tmp_path, denoiser=whole.config["denoiser"])
    study.run("train", cohort="full")
    first = study.tensors("train", "models", cohort="full")
    folder = study.out("train", cohort="full")

    class Stop(Exception):
        pass

    def stopped(path, tensors, meta=None):
        save_tensors(path, tensors, meta)
        if path.name == "checkpoint.safetensors" and meta["step"] == 20:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution.steps.train.save_tensors", stopped)
        with pytest.raises(Stop):
            study.run("train", cohort="full")
    assert (folder / "checkpoint.safetensors").exists()
    study.run("train", cohort="full")
    for name, value in study.tensors("train", "models", cohort="full").items():
        np.testing.assert_allclose(value, first[name], rtol=0, atol=1e-4 * np.abs(first[name]).max() + 1e-6)
