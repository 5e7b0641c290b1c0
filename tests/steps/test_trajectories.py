"""The queries' trajectories through the steps: sampled or inferred, measured, differentiated; for queries only."""

import numpy as np
import pytest
import torch

from attribution.core.store import load_tensors
from attribution.curvature.blocks import layers
from attribution.diffusion import trajectory
from attribution.diffusion.denoisers import build
from attribution.diffusion.ensemble import stack
from attribution.diffusion.sampler import sample
from attribution.errors import StudyError
from attribution.steps import loading, trajectories

CPU = torch.device("cpu")
Q, K, SHAPE = 12, 5, (1, 8, 8)
COHORT = "crn0_000_003"


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """The study up to the losses of four retrained models."""
    study = trained.copy(tmp_path_factory.mktemp("measured"))
    study.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    study.make(f"results/tiny/losses/{COHORT}")
    return study


def ways(study):
    return trajectories.load(study.out("queries") / "trajectories.safetensors", CPU)


def full(study):
    path = study.out("train", cohort="full") / "models.safetensors"
    return loading.single(path, study.config["denoiser"], SHAPE, CPU)


def gradients(study, quantity):
    """The queries' gradients of a quantity, a block each, and the file's meta."""
    names = {"model": "full", "set": "queries", "quantity": quantity, "part": "all"}
    study.make(f"results/tiny/gradients/full/queries/{quantity}/all")
    path = study.out("gradients", **names) / "gradients.safetensors"
    return load_tensors(path, "pt"), study.meta("gradients", "gradients", **names)


def test_queries_come_with_their_way(measured):
    """Generated ones as sampled, to the last bit; real ones end in themselves; outputs are the full model's."""
    path, sampling, names = ways(measured)
    queries, config = measured.tensors("queries", "queries"), measured.config
    assert path.states.shape == (Q, K + 1, *SHAPE)
    assert path.outputs.shape == (Q, K, *SHAPE)
    assert path.t.tolist() == [800, 600, 400, 200, 0]
    assert sampling == config["sampling"]
    assert names == measured.meta("queries", "queries")["names"]
    np.testing.assert_array_equal(path.states[:, -1].numpy(), queries["images"])
    with torch.no_grad():
        model = full(measured)
        drawn = sample(model, config["diffusion"], sampling, config["seed"], names[:3], SHAPE, CPU)
        assert torch.equal(path.states[:3, -1], drawn)
        for k, t in enumerate(path.t.tolist()):
            expected = model(path.states[:, k], torch.full((Q,), t))
            torch.testing.assert_close(path.outputs[:, k], expected, rtol=1e-5, atol=1e-5)


def test_every_model_is_measured_on_every_way(measured):
    """By the transitions' densities, one query and one model at a time, at the steps that count."""
    path, sampling, _ = ways(measured)
    found = measured.tensors("measure", "losses", cohort=COHORT)["trajectory"]
    assert found.shape == (4, Q)
    assert found.dtype == np.float64
    counted = trajectory.steps(measured.config["diffusion"], sampling)
    assert counted.index.tolist() == [0, 1, 2, 3]
    path_to_models = measured.out("train", cohort=COHORT) / "models.safetensors"
    weights, model = load_tensors(path_to_models, "pt"), build(measured.config["denoiser"], SHAPE)
    normal = torch.distributions.Normal
    for m, q in ((0, 0), (3, 2), (1, 5), (2, 11)):
        model.load_state_dict({name: value[m] for name, value in weights.items()})
        y = path.states[q].double()
        total = normal(0.0, 1.0).log_prob(y[0]).mean()
        for k in range(4):
            output = model(path.states[q, k][None], path.t[k][None])[0].detach().double()
            mean = counted.scale[k] * y[k] - counted.shift[k] * output
            total += normal(mean, counted.sigma[k]).log_prob(y[k + 1]).mean()
        assert found[m, q] == pytest.approx(-total.item(), rel=1e-4)


def test_gradients_are_slopes_of_what_is_measured(measured):
    """Central differences of the measured values along a random direction, in float64; a wrong sign is off by 2."""
    path, sampling, _ = ways(measured)
    path = trajectory.Trajectory(path.states.double(), path.outputs.double(), path.t)
    counted = trajectory.steps(measured.config["diffusion"], sampling)
    model = full(measured).double()
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    direction = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in weights.items()}
    moved = [{n: v + side * 1e-5 * direction[n] for n, v in weights.items()} for side in (1, -1)]
    values = trajectory.measured(model, stack(moved), counted, path, 100)
    slope = (values[0] - values[1]) / 2e-5
    found, _ = gradients(measured, "trajectory")
    total = torch.zeros(Q, dtype=torch.float64)
    for name in layers(model):
        joint = torch.cat([direction[f"{name}.weight"], direction[f"{name}.bias"][:, None]], 1)
        total += (found[name].double() * joint).sum((1, 2))
    assert (total - slope).abs().max() < 1e-3 * slope.abs().max()


def test_outputs_are_several_rows_a_query(measured):
    found, meta = gradients(measured, "output")
    assert meta == {"draws": 2}
    assert {len(block) for block in found.values()} == {2 * Q}


def test_journey_is_another_feature_than_the_loss(measured):
    """As many rows a query, of other images."""
    (journey, meta), (loss, _) = (gradients(measured, quantity) for quantity in ("journey", "loss"))
    assert meta == {}
    for name in loss:
        assert journey[name].shape == loss[name].shape == (Q, *loss[name].shape[1:])
        assert (journey[name] - loss[name]).abs().max() > 0.01 * loss[name].abs().max()


@pytest.mark.parametrize("quantity", ["trajectory", "journey", "output"])
def test_quantities_of_queries_are_refused_for_the_training_set(measured, quantity):
    with pytest.raises(StudyError, match=f"quantity '{quantity}' is one of queries"):
        measured.run("gradients", model="full", set="train", quantity=quantity, part="000_029")
