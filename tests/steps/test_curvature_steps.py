"""Curvature and its scores in parts of the training set: the parts add up to the whole, for every kind of Fisher."""

import pytest
import torch

from attribution.core.store import load_tensors
from attribution.curvature import ekfac, kfac, state
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised_batches import batches, by_examples
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.noise import alphas_cumprod
from attribution.steps import loading

N, Q = 40, 12
WHOLE, PARTS = "000_039", ("000_029", "030_039")
GRID = [0.01, 0.1, 1.0]
KINDS = {
    "model": {"fisher": "mc", "draws": 3, "sharing": "expand"},
    "reduced": {"fisher": "type2", "draws": 1, "sharing": "reduce"},
    "loss": {"fisher": "empirical", "draws": 3, "sharing": "expand"},
    "averaged": {"fisher": "averaged", "draws": 3, "sharing": "expand"},
}
INFLUENCE = {"measurement": "loss", "damping": 0.1, "dampings": GRID}
METHODS = {
    name: INFLUENCE | {"curvature": curvature, "unit": "model", "bits": 32}
    for name, curvature in (("kfac", "model"), ("ekfac", "model"), ("ekfac_averaged", "averaged"))
}
METHODS["ekfac_8bit"] = METHODS["ekfac"] | {"bits": 8}
METHODS["ekfac_block"] = METHODS["ekfac"] | {"unit": "block"}
for name in ("diagonal", "sampled_ggn", "full_ggn"):
    METHODS[name] = INFLUENCE | {"fisher": "mc", "draws": 2}
METHODS["gradient_dot"] = {"measurement": "loss", "feature": "loss", "projection": "none"}
METHODS["trak"] = INFLUENCE | METHODS["gradient_dot"]


def changes(shard, batch):
    """Settings with these methods, in parts of `shard` examples, `batch` rows at a time."""
    return {
        "gradients": {"draws": 6, "batch": batch, "shard": shard, "bits": 32, "outputs": 2},
        "curvature": {"batch": batch, "bias": "joint", "kinds": KINDS},
        "methods": METHODS,
    }


def copied(study, root, shard, batch):
    """What the study has made so far, under other settings."""
    other = study.copy(root, **changes(shard, batch))
    other.jobs = list(study.jobs)
    return other


@pytest.fixture(scope="module")
def bases(trained, tmp_path_factory):
    """The full model and the bases of all kinds; shared, as eigenvectors of equal eigenvalues are free."""
    study = trained.copy(tmp_path_factory.mktemp("bases"), **changes(30, 3))
    study.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    for kind in KINDS:
        study.make(f"results/tiny/basis/full/{kind}")
    return study


@pytest.fixture(scope="module")
def parts(bases, tmp_path_factory):
    """The training set in two parts, a few rows at a time."""
    return copied(bases, tmp_path_factory.mktemp("parts"), 30, 3)


@pytest.fixture(scope="module")
def whole(bases, tmp_path_factory):
    """The training set in one part, many rows at a time."""
    return copied(bases, tmp_path_factory.mktemp("whole"), N, 60)


def made(study, folder, file):
    study.make(f"results/tiny/{folder}")
    return load_tensors(study.root / f"results/tiny/{folder}/{file}.safetensors", "pt")


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def training(study):
    """The full model, the training set, and the diffusion's abar."""
    data = loading.examples(study.root / "results/tiny/data/images/train.safetensors", torch.device("cpu"))
    path = study.out("train", cohort="full") / "models.safetensors"
    model = loading.single(path, study.config["denoiser"], data.shape, torch.device("cpu"))
    return model, data, alphas_cumprod(study.config["diffusion"])


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_to_the_whole(whole, parts, kind):
    """Other draws, or another number of rows, are off by more than a hundredth. Rows are summed in float32 batches."""
    expected = made(whole, f"factors/full/{kind}/{WHOLE}", "factors")
    found = [made(parts, f"factors/full/{kind}/{part}", "factors") for part in PARTS]
    assert [int(one["rows"]) for one in (expected, *found)] == [n * KINDS[kind]["draws"] for n in (40, 30, 10)]
    for name, value in expected.items():
        assert close(found[0][name] + found[1][name], value)
    basis = made(parts, f"basis/full/{kind}", "basis")
    merged = kfac.eigenbasis(kfac.merge([state.unpack_factors(one) for one in found]))
    assert all(torch.equal(value, basis[name]) for name, value in state.pack(merged).items())
    expected = made(whole, f"eigenvalues/full/{kind}/{WHOLE}", "eigenvalues")
    found = [made(parts, f"eigenvalues/full/{kind}/{part}", "eigenvalues") for part in PARTS]
    rows = 1 if kind == "averaged" else KINDS[kind]["draws"]
    assert [int(one["rows"]) for one in (expected, *found)] == [n * rows for n in (40, 30, 10)]
    for name, value in expected.items():
        assert close(found[0][name] + found[1][name], value)


def test_draws_of_the_two_passes(whole):
    """Keyed streams of their own: those of the other pass give other sums."""
    model, data, abar = training(whole)
    held = made(whole, f"factors/full/model/{WHOLE}", "factors")
    for stream, same in (("curvature/factors", True), ("curvature/eigenvalues", False)):
        rows = batches(data.images, data.names, abar, seed=0, stream=stream, count=3, batch=17, pseudo=True)
        found = kfac.accumulate(model, rows, fisher="mc", sharing="expand", bias="joint", generator=None)
        assert all(close(value, held[name], 1e-5) for name, value in state.pack(found).items()) is same


def test_averaged_eigenvalues_have_the_trace_of_the_averaged_gradients(parts):
    model, data, abar = training(parts)
    groups = by_examples(
        data.images,
        data.names,
        abar,
        seed=0,
        stream="curvature/eigenvalues",
        count=3,
        batch=120,
        quantity="loss",
    )
    norms = [
        G.double().square().sum()
        for _, group in groups
        for G in mean_gradients(model, group, "joint", loss_gradient).values()
    ]
    held = [state.unpack_eigenvalues(made(parts, f"eigenvalues/full/averaged/{part}", "eigenvalues")) for part in PARTS]
    trace = sum(float(values.sum()) for values in ekfac.mean(ekfac.merge(held)).values())
    assert trace == pytest.approx(float(sum(norms)) / N, rel=1e-5)
    single = [state.unpack_eigenvalues(made(parts, f"eigenvalues/full/loss/{part}", "eigenvalues")) for part in PARTS]
    assert sum(float(values.sum()) for values in ekfac.mean(ekfac.merge(single)).values()) > 1.2 * trace


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("gradient_dot", "trak")])
def test_scores_of_parts_are_those_of_the_whole(whole, parts, method):
    """In the order of the training set. Eight bits: a code may turn with a rounding of the gradient it is of."""
    expected, found = (made(study, f"scores/full/{method}", "scores") for study in (whole, parts))
    assert found["scores"].shape == (3, Q, N)
    assert found["dampings"].tolist() == GRID
    for layer, other in zip(found["scores"], expected["scores"], strict=True):
        assert close(layer, other, 1e-2 if method == "ekfac_8bit" else 1e-3)
        assert not close(layer.flip(1), other, 0.1)


def test_settings_of_a_method_count(parts):
    base = made(parts, "scores/full/ekfac", "scores")["scores"]
    for method, least, most in (("kfac", 1e-2, 10), ("ekfac_block", 1e-2, 10), ("ekfac_8bit", 1e-7, 1e-2)):
        other = made(parts, f"scores/full/{method}", "scores")["scores"]
        assert least < float((other - base).abs().max() / base.abs().max()) < most


def test_the_whole_ggn_and_the_sampled_one_are_one_matrix(parts):
    """Of the same draws: a P x P solve and Woodbury's identity."""
    dense, sampled = (
        made(parts, f"scores/full/{method}", "scores")["scores"] for method in ("full_ggn", "sampled_ggn")
    )
    for one, two in zip(dense, sampled, strict=True):
        assert close(one, two, 1e-4)


def test_few_draws_in_small_batches(parts):
    """Two draws, then four more, three rows at a time: the last scores are the methods' own, of all six draws."""
    parts.make("results/tiny/draws/scores")
    swept = parts.tensors("sweep_draws", "scores")
    for method in ("gradient_dot", "trak", "ekfac"):
        held = made(parts, f"scores/full/{method}", "scores")["scores"]
        first, last = torch.from_numpy(swept[method])
        expected = held[GRID.index(0.1)] if len(held) > 1 else held[0]
        assert close(last, expected, 1e-3)
        assert not close(first, expected, 1e-2)
