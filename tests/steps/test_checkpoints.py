"""Checkpoints of a small training and the gradients at them: the training itself, and autograd draw by draw."""

import json

import numpy as np
import pytest
import torch

from attribution.core.device import choose
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.diffusion.noise import add_noise, alphas_cumprod, draws
from attribution.errors import StudyError
from attribution.provenance.job import Job
from attribution.steps import checkpoint_products, checkpoints, loading, score_checkpoints
from attribution.steps import train as training_step
from attribution.training import loop

N, Q, E, SHAPE, T = 22, 3, 4, (1, 4, 4), 50
SPEC = {
    "seed": 3,
    "denoiser": {"kind": "mlp", "width": 6, "depth": 2, "time_features": 4},
    "diffusion": {"timesteps": T, "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2},
    "training": {
        "steps": 26,
        "batch": 5,  # four batches an epoch, two examples left out
        "learning_rate": 0.01,
        "warmup_steps": 4,
        "final_learning_rate": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 0.5,
        "ema_decay": 0.8,
        "checkpoint_every": 4,
        "log_every": 4,
    },
    "gradients": {"batch": 9},
    "curvature": {"bias": "joint"},
    "checkpoints": {"count": 3, "draws": E},
}
STEPS = [8, 17, 26]  # at the end of an epoch, one step and two steps into one


class Killed(Exception):
    """Stands for the end of a process."""


class Study:
    """Files under a folder, and jobs of which each writes a folder in it."""

    def __init__(self, root):
        self.root = root
        generator = np.random.default_rng(0)
        images = generator.uniform(-1, 1, (N + Q, *SHAPE)).astype(np.float32)
        save_tensors(root / "data", {"images": images[:N], "index": np.arange(N)})
        save_tensors(root / "queries", {"images": images[N:]}, {"names": [f"generated/{q}" for q in range(Q)]})
        members = generator.permutation(N)[None]  # in no order: positions of the stream are not rows of the data
        save_tensors(root / "subsets", {"members": members}, {"names": ["full"], "streams": [["crn", 0]]})

    def run(self, step, out, identity="id", spec=SPEC, **files):
        """The file that the step writes into the folder `out`."""
        paths = {name: [self.root / file] for name, file in files.items()}
        job = Job(step.__name__, spec, self.root / out, paths, identity)
        job.out.mkdir(exist_ok=True)
        step.run(job)
        self.record = job.record
        return job.out / next(iter(step.OUTPUTS))

    def train(self, out="full", **changes):
        spec = SPEC | {"training": SPEC["training"] | changes}
        return self.run(training_step, out, spec=spec, data="data", subsets="subsets")

    def checkpoints(self, out="checkpoints", model="full/models.safetensors", count=3, identity="id"):
        spec = SPEC | {"checkpoints": {"count": count}}
        return self.run(checkpoints, out, identity, spec, data="data", subsets="subsets", model=model)

    def products(self, out="products", batch=9):
        spec = SPEC | {"gradients": {"batch": batch}}
        files = {name: name for name in ("data", "queries", "subsets")}
        return self.run(checkpoint_products, out, spec=spec, checkpoints="checkpoints/checkpoints.safetensors", **files)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """A study with a trained model; what training noised at each step: x0, t and eps, [B, ...]."""
    study, seen = Study(tmp_path_factory.mktemp("study")), []

    def noted(abar, x0, t, eps):
        seen.append((x0[0], t[0], eps[0]))
        return add_noise(abar, x0, t, eps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "add_noise", noted)
        study.train()
    study.checkpoints()
    return study, seen


@pytest.fixture
def study(met):
    return met[0]


def test_evenly_spaced():
    assert checkpoints.evenly_spaced(26, 3) == STEPS
    assert checkpoints.evenly_spaced(8000, 4) == [2000, 4000, 6000, 8000]
    assert checkpoints.evenly_spaced(5, 5) == [1, 2, 3, 4, 5]


def test_the_weights_of_all_steps_average_to_the_model(study):
    """What a checkpoint holds, by what the model is: the moving average of the raw weights of every step.

    1e-6 in float32; averages in place of raw weights, or those of one step later, are off by a hundredth.
    """
    every = study.checkpoints("every", count=26)
    raw, model = load_tensors(every), load_tensors(study.root / "full/models.safetensors")
    assert load_meta(every)["steps"] == list(range(1, 27))
    for shift in (0, 1):
        off = []
        for name, given in model.items():
            first = checkpoints.initial(SPEC["denoiser"], SHAPE, SPEC["seed"], "crn", 0)[name].numpy()
            ema = first.astype(np.float64)
            for step in range(26):
                decay = min(0.8, (1 + step) / (10 + step))
                ema = decay * ema + (1 - decay) * raw[name][min(step + shift, 25)]
            off.append(np.abs(ema - given[0]).max())
        assert max(off) < 1e-6 if shift == 0 else max(off) > 1e-3
    few = load_tensors(study.root / "checkpoints/checkpoints.safetensors")
    assert all(np.array_equal(few[name], raw[name][np.array(STEPS) - 1]) for name in few)


def test_it_is_the_same_training(study):
    study.checkpoints("again")
    assert study.record["difference"] == 0
    meta = load_meta(study.root / "again/checkpoints.safetensors")
    assert (meta["names"], meta["steps"]) == (["step8", "step17", "step26"], STEPS)
    assert {path.name for path in (study.root / "again").iterdir()} == {"checkpoints.safetensors"}


def test_a_checkpoint_is_loaded_by_its_name(study):
    path = study.root / "again/checkpoints.safetensors"
    study.checkpoints("again")
    held = load_tensors(path, "pt")
    for k, step in enumerate(STEPS):
        model = loading.single(path, SPEC["denoiser"], SHAPE, choose(), f"step{step}")
        assert all(torch.equal(value.cpu(), held[name][k]) for name, value in model.state_dict().items())
    assert not torch.equal(held["outer.weight"][0], held["outer.weight"][1])


def test_learning_rates_are_those_that_training_logs(study):
    """Of a checkpoint a step, the schedule; of three, its means, which add up to the same sum of rates."""
    study.train("logged", log_every=1)
    log = [json.loads(line)["learning_rate"] for line in (study.root / "logged/log.jsonl").read_text().splitlines()]
    rates = load_meta(study.checkpoints("every", count=26))["learning_rates"]
    np.testing.assert_allclose(rates, log, rtol=1e-12)
    three = load_meta(study.checkpoints("again"))["learning_rates"]
    np.testing.assert_allclose(three, [np.mean(log[:8]), np.mean(log[8:17]), np.mean(log[17:])], rtol=1e-12)


@pytest.mark.parametrize("changes", [{"learning_rate": 0.012}, {"steps": 24}, {"batch": 6}])
def test_another_model_is_refused(study, changes):
    study.train("other", **changes)
    with pytest.raises(StudyError, match="not the model that this training ends in, its weights are .* away; delete"):
        study.checkpoints("refused", "other/models.safetensors")
    assert not (study.root / "refused/checkpoints.safetensors").exists()


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.1, np.nan])
def test_rounding_is_let_pass(study, size):
    model = load_tensors(study.root / "full/models.safetensors")
    scaled = {name: value * np.float32(1 + size) for name, value in model.items()}
    save_tensors(study.root / "scaled", scaled, {"names": ["full"]})
    if size < 0.01:
        study.checkpoints("scaled_out", "scaled")
        assert study.record["difference"] == pytest.approx(size, rel=0.1)
    else:
        with pytest.raises(StudyError, match="not the model"):
            study.checkpoints("scaled_out", "scaled")


def test_a_file_of_other_parameters_or_names_is_refused(study):
    model = load_tensors(study.root / "full/models.safetensors")
    save_tensors(study.root / "named", model, {"names": ["seed1"]})
    save_tensors(study.root / "less", {"outer.weight": model["outer.weight"]}, {"names": ["full"]})
    for file in ("named", "less"):
        with pytest.raises(StudyError, match="is no model full of this denoiser"):
            study.checkpoints("refused", file)


@pytest.mark.parametrize("at", [4, 12, 24])
def test_killed_and_started_again(study, monkeypatch, at):
    """Before the first checkpoint, between two, before the last: the same bytes, and no step is done twice."""
    whole = study.checkpoints("again").read_bytes()

    def killed(path, tensors, meta):
        save_tensors(path, tensors, meta)
        if meta.get("step") == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_tensors", killed)
        with pytest.raises(Killed):
            study.checkpoints(f"killed{at}")
    folder = study.root / f"killed{at}"
    assert [path.name for path in folder.iterdir()] == ["resume.safetensors"]
    done = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "add_noise", lambda *given: done.append(1) or add_noise(*given))
        assert study.checkpoints(folder.name).read_bytes() == whole
    assert len(done) == 26 - at
    assert [path.name for path in folder.iterdir()] == ["checkpoints.safetensors"]


def test_what_another_job_left_is_ignored(study):
    whole = study.checkpoints("again").read_bytes()
    junk = {f"{part}/outer.weight": np.ones(3) for part in ("params", "8")}
    save_tensors(study.root / "again/resume.safetensors", junk, {"identity": "another", "step": 8})
    assert study.checkpoints("again").read_bytes() == whole
    (study.root / "again/resume.safetensors").write_bytes(b"half of it")
    with pytest.raises(StudyError, match=r"resume\.safetensors: truncated or damaged"):
        study.checkpoints("again")


def last_seen(data, seen, step):
    """t and eps of each example the last time that training noised its image in the first `step` steps."""
    found = {}
    for x0, t, eps in seen[:step]:
        for image, one, noise in zip(x0, t, eps, strict=True):
            (row,) = (data.images == image).flatten(1).all(1).nonzero().flatten().tolist()
            found[row] = (one, noise)
    return found


def autograd(model, image, t, eps):
    """Gradient of the mean square error of one row, all parameters in a row, [P] float64."""
    abar = alphas_cumprod(SPEC["diffusion"]).double()[t]
    x_t = abar.sqrt() * image.double() + (1 - abar).sqrt() * eps.double()
    loss = (model(x_t[None], torch.as_tensor(t)[None])[0] - eps.double()).square().mean()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]).numpy()


def averaged(model, data, stream):
    """Gradients of each example and draw, [n, E, P]."""
    found = []
    for image, name in zip(data.images, data.names, strict=True):
        t, eps = draws(SPEC["seed"], stream, [name], 0, E, T, SHAPE)
        found.append([autograd(model, image, one, noise) for one, noise in zip(t[0], eps[0], strict=True)])
    return np.array(found)


@pytest.fixture(scope="module")
def expected(met):
    """The products by autograd, and the examples whose last meeting lies before the checkpoint's epoch."""
    study, seen = met
    data, queries = (loading.examples(study.root / name, torch.device("cpu")) for name in ("data", "queries"))
    path, parts = study.root / "checkpoints/checkpoints.safetensors", []
    for step in STEPS:
        model = loading.single(path, SPEC["denoiser"], SHAPE, torch.device("cpu"), f"step{step}").double()
        query, train = averaged(model, queries, "gradients/queries"), averaged(model, data, "gradients/train").mean(1)
        found = last_seen(data, seen, step)
        assert len(found) == N
        replayed = np.array([autograd(model, data.images[n], *found[n]) for n in range(N)])
        directions = (query / np.linalg.norm(query, axis=2, keepdims=True)).mean(1)
        parts.append(
            {
                "replayed": query.mean(1) @ replayed.T,
                "directed": directions @ replayed.T,
                "averaged": query.mean(1) @ train.T,
                "replayed_norm": np.linalg.norm(replayed, axis=1),
                "averaged_norm": np.linalg.norm(train, axis=1),
                "query_norm": np.linalg.norm(query.mean(1), axis=1),
            }
        )
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("batch", [1, 9, 1000])
def test_products_are_those_of_autograd(study, expected, batch):
    """A loop of torch.autograd.grad over examples and draws in float64, at the noise that training was seen to add.

    1e-4 of the largest: the step computes in float32. Noise of another step, example or position is off by a tenth.
    """
    found = load_tensors(study.products(f"products{batch}", batch))
    rates = load_meta(study.root / "checkpoints/checkpoints.safetensors")["learning_rates"]
    assert found.pop("learning_rate").tolist() == rates
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=name)
    others = found["replayed"][:, :, ::-1], np.roll(found["replayed"], 1, 0), found["averaged"], found["directed"]
    for other in others:
        assert np.abs(other - expected["replayed"]).max() > 0.1 * np.abs(expected["replayed"]).max()


def test_noise_is_replayed_from_before_the_checkpoint(met):
    """17 and 26 steps are in the middle of an epoch of four: most examples met their noise in the one before."""
    study, seen = met
    data = loading.examples(study.root / "data", torch.device("cpu"))
    for step in STEPS[1:]:
        of_epoch = len(last_seen(data, seen[step - step % 4 :], step % 4))
        assert 0 < of_epoch < N / 2


def test_a_checkpoint_before_the_first_epoch_is_over_is_refused(study):
    study.checkpoints("early", count=13)  # after two steps 12 of 22 examples were in no batch
    files = {name: name for name in ("data", "queries", "subsets")}
    with pytest.raises(StudyError, match=r"12 of 22 examples .* lower checkpoints\.count"):
        study.run(checkpoint_products, "refused", checkpoints="early/checkpoints.safetensors", **files)


@pytest.mark.parametrize("method", ["tracin", "retrac", "tracincp", "gas"])
def test_scores_of_a_study(study, expected, method):
    study.products()
    spec = {"job": {"method": method, "module": "tracin", "function": method}, "methods": {method: {}}}
    scores = load_tensors(study.run(score_checkpoints, method, spec=spec, products="products/products.safetensors"))
    rates = np.array(load_meta(study.root / "checkpoints/checkpoints.safetensors")["learning_rates"])
    layers = {
        "tracin": rates[:, None, None] * expected["replayed"],
        "retrac": rates[:, None, None] * expected["directed"] / expected["replayed_norm"][:, None],
        "tracincp": expected["averaged"] / 3,
        "gas": expected["averaged"] / expected["query_norm"][:, :, None] / expected["averaged_norm"][:, None] / 3,
    }
    assert set(scores) == {"scores"}
    assert scores["scores"].dtype == np.float32
    assert scores["scores"].shape == (1, Q, N)
    value = layers[method].sum(0)
    np.testing.assert_allclose(scores["scores"][0], value, rtol=0, atol=2e-4 * np.abs(value).max())
