"""What cannot run, or would say nothing, is refused by arithmetic; and what is let through can be built and stepped."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from attribution.curvature import ggn, woodbury
from attribution.diffusion import denoisers
from attribution.diffusion.trajectory import steps
from attribution.errors import StudyError
from attribution.workflow import config, datasets, limits, scale

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
LEVELS = {
    "kind": "unet",
    "block_out_channels": [8] * 5,
    "down_block_types": ["DownBlock2D"] * 5,
    "up_block_types": ["UpBlock2D"] * 5,
}
SHAPES = {"sd2_autoencoder": (4, 32, 32), "tiny_autoencoder": (4, 8, 8)}


def refusal(load, study: dict[str, Any], key: str, value: Any) -> str:
    """What is said of the study with a section's key changed."""
    section, _, name = key.partition(".")
    study[section] = study[section] | {name: value} if name else value
    with pytest.raises(StudyError) as error:
        load(yaml.safe_dump(study))
    return str(error.value).partition("study.yaml: ")[2]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "denoiser",
            LEVELS,
            "denoiser.block_out_channels: 5 levels halve the side 4 times, and 8x8 is no multiple of 16",
        ),
        (
            "denoiser",
            {"kind": "unet", "attention_head_dim": 64},
            "denoiser.attention_head_dim: 64 does not divide the 32",
        ),
        (
            "denoiser",
            {"kind": "unet", "attention_head_dim": 5},
            "denoiser.attention_head_dim: 5 does not divide the 32",
        ),
        (
            "denoiser",
            {
                "kind": "unet",
                "block_out_channels": [2, 4],
                "norm_num_groups": 1,
                "freq_shift": 1,
                "attention_head_dim": 1,
            },
            "denoiser.block_out_channels: 2 channels hold no frequency of the timestep; write 4 or more",
        ),
        ("design.subsets", 7, "design.subsets: 7 is not allowed; (expected integer >= 8"),
        ("design.subsets", 3_000_000, "design.subsets: the study would be 562578 jobs, more than 20000, and 562506 of"),
        ("design.cohort", 1, None),
        ("ensemble.models", 10**9, "ensemble.models: 1000000000 is not allowed; (expected integer >= 2 and <= 1000)"),
        ("gradients.shard", 1, None),
        ("diffusion.beta_end", 0.9, "diffusion.beta_end: the last timestep holds"),
        ("measurement.quantities", ["loss", "trajectory"], "sampling.eta: 0.0 samples without noise; raise it, or"),
        ("measurement.quantities", ["loss", "loss_at_05"], "measurement.quantities[1]: 'loss_at_05' is not allowed"),
        ("denoiser.width", 65536, "denoiser.width: 425"),
        ("training.learning_rate", 1e30, "training.learning_rate: 1e+30 is not allowed; (expected number >= 1e-09 and"),
        ("evaluation.coverage", 1e-300, "evaluation.coverage: 1e-300 is not allowed; (expected number >= 0.5 and"),
        ("evaluation.compare", [["trak", "trak"]], "evaluation.compare[0]: ['trak', 'trak'] holds a value twice"),
        ("title", "one\ntwo", "title: 'one\\ntwo' holds a character that cannot be printed; drop it"),
    ],
)
def test_refusals(load, study: dict[str, Any], key: str, value: Any, expected: str | None) -> None:
    """Each of these began, and ended in a traceback, in a constant or in no memory. None: many, but not too many."""
    if key == "denoiser.width":
        study["denoiser"]["depth"] = 100
    if expected is None:
        section, _, name = key.partition(".")
        study[section][name] = value
        load(yaml.safe_dump(study))
    else:
        assert refusal(load, study, key, value).startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"contributors": {"methods": []}}, "contributors.methods: [] is not allowed"),
        ({"unlearning": {"prefilter": {"top": 401}}}, "unlearning.prefilter.top: 401 is more than data.train (400)"),
        ({"unlearning": {"prefilter": {"top": 10**12}}}, "unlearning.prefilter.top: 1000000000000 is not allowed"),
        ({"unlearning": {"prefilter": {"by": ["trak", "trak"]}}}, "unlearning.prefilter.by: ['trak', 'trak'] holds"),
        ({"unlearning": {"kinds": {"mirrored": {"max_steps": 0}}}}, "unlearning.kinds.mirrored.max_steps: 0 is not"),
        ({"contributors": {"coalitions": 10**6, "cohort": 1}}, "contributors.coalitions: the study would be 4000"),
        ({"gradients": {"shard": 1}, "ensemble": {"models": 1000}}, "gradients.shard: the study would be 3"),
        (
            {"removal": {"replicates": 1000}, "denoiser": {"width": 65536, "depth": 2}},
            "removal.replicates: 3000 models",
        ),
        ({"methods": {"full_ggn": {}}}, "methods.full_ggn: decomposes a matrix of 26944 parameters, more than 8192"),
        (
            {"methods": {"sampled_ggn": {"draws": 21}}},
            "methods.sampled_ggn.draws: 21 of data.train 400 are 8400 vectors",
        ),
        ({"methods": {"sampled_ggn": {"fisher": "type2"}}}, "methods.sampled_ggn.draws: 2 of data.train 400 are 51200"),
        ({"unlearning": {"kinds": {"mirrored": {"forget": 0}}}}, "unlearning.kinds.mirrored.forget: 0 is not allowed"),
        ({"seed": 10**400}, f"seed: 1{'0' * 199}... is not allowed"),
        ({"title": "x" * 1001}, "title: 'xxxx"),
    ],
)
def test_refusals_of_a_whole_study(change: dict[str, Any], expected: str) -> None:
    """Of the smoke study, which has every section; each was accepted, 10**400 ended in an OverflowError."""
    with pytest.raises(StudyError) as error:
        config.load(ROOT / "config/smoke.yaml", SCHEMA, lambda study: scale.laid(study, change))
    assert str(error.value).partition("smoke.yaml: ")[2].startswith(expected)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.99, "design.fraction: 0.99 of data.train 40 is 40 examples, all of them; lower it"),
        (0.97, "design.fraction: 0.97 of data.train 40 is 39 examples, 40 different subsets for design.subsets 64"),
        (0.01, "training.batch: 1 is more than the 0.4 examples of a subset"),
    ],
)
def test_subsets_differ(load, study: dict[str, Any], fraction: float, expected: str) -> None:
    """Where all subsets are alike no correlation is defined: found in lds, after all training."""
    study["data"]["train"], study["training"]["batch"] = 40, 1
    study["queries"]["training"], study["gradients"]["shard"] = 40, 40
    study["removal"] = {"methods": ["random", "ekfac"], "percents": [10], "queries": 1, "replicates": 1}
    assert refusal(load, study, "design.fraction", fraction).startswith(expected)


def test_a_removal_removes_something_and_leaves_a_batch(load, study: dict[str, Any]) -> None:
    """round(0.01 * 40) is 0: the models were those without any removal, reported as if it had been one."""
    study["data"]["train"], study["training"]["batch"], study["queries"]["training"] = 40, 20, 40
    removal = {"methods": ["random", "ekfac"], "queries": 1, "replicates": 1}
    none = "removal.percents: 1 percent of data.train 40 is 0 examples: nothing would be removed; raise it to 2 or more"
    assert refusal(load, study, "removal", removal | {"percents": [1]}) == none
    few = "removal.percents: 60 percent of data.train 40 is 24 examples, which leaves fewer than training.batch (20)"
    assert refusal(load, study, "removal", removal | {"percents": [10, 60]}).startswith(few)
    study["removal"] = removal | {"percents": [2, 50]}
    load(yaml.safe_dump(study))


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("floor", [0.0, 0.05, 0.1, 0.2, 0.5])
def test_a_trajectory_has_a_density_where_the_sampler_says_so(
    load, study: dict[str, Any], schedule: str, count: int, floor: float
) -> None:
    """The rule and the sampler itself agree: a rule that was too strict or too lax would differ in some of these."""
    study["diffusion"]["beta_schedule"], study["measurement"]["quantities"] = schedule, ["loss", "trajectory"]
    study["sampling"] = {"steps": count, "eta": 0.8, "clip": True, "floor": floor}
    try:
        kept = len(steps(study["diffusion"], study["sampling"]).index)
    except StudyError:
        assert refusal(load, study, "seed", 1).startswith("sampling.steps: 1" if count == 1 else "sampling.floor: ")
    else:
        assert kept
        load(yaml.safe_dump(study))


def stepped(denoiser: dict[str, Any], shape: tuple[int, ...]) -> torch.Size:
    """The shape of what a network says of two images, without memory or arithmetic."""
    with torch.device("meta"):
        return denoisers.build(denoiser, shape)(torch.empty(2, *shape), torch.zeros(2, dtype=torch.long)).shape


def test_a_unet_is_refused_where_it_cannot_be_stepped(load, study: dict[str, Any], unet: dict[str, Any]) -> None:
    """Levels by heads on 8x8 and 32x32: what loads is built and stepped, and what fails there does not load."""
    sizes = {"digits": (1, 8, 8), "cifar2": (3, 32, 32)}
    around = [("digits", levels) for levels in (1, 3, 4, 5)] + [("cifar2", levels) for levels in (5, 6, 7)]
    for (dataset, levels), head in itertools.product(around, (None, 8, 16)):
        study["data"]["dataset"] = dataset
        kinds = {"down_block_types": ["AttnDownBlock2D"] * levels, "up_block_types": ["UpBlock2D"] * levels}
        channels = {"block_out_channels": [8] * levels, "attention_head_dim": head}
        study["denoiser"] = unet | channels | kinds
        try:
            load(yaml.safe_dump(study))
        except StudyError:
            with pytest.raises((RuntimeError, ZeroDivisionError, ValueError)):
                stepped(study["denoiser"], sizes[dataset])
        else:
            assert stepped(study["denoiser"], sizes[dataset]) == (2, *sizes[dataset])


@pytest.mark.parametrize("size", [None, "tiny"])
def test_every_study_is_built_and_stepped_at_its_size(size: str | None) -> None:
    """On the meta device, whose shapes are those of the machine that will train it."""
    studies = scale.studies(ROOT, SCHEMA, size, config.read_yaml(ROOT / "config/config.yaml")["groups"])
    assert len(studies) >= 4
    for name, study in studies.items():
        facts = datasets.facts(study["data"]["dataset"])
        shape = SHAPES.get(study["data"].get("autoencoder"), (facts["channels"], *facts["size"]))
        assert [*shape[1:]] == limits._sides(study["data"]), name
        assert stepped(study["denoiser"], shape) == (2, *shape), name
        with torch.device("meta"):
            count = sum(p.numel() for p in denoisers.build(study["denoiser"], shape).parameters())
        least = limits._parameters(study)
        assert least == count if study["denoiser"]["kind"] == "mlp" else count / 4 < least < count, name


def test_the_largest_matrix_is_that_of_the_methods() -> None:
    assert limits.WHOLE == ggn.LIMIT == woodbury.LIMIT


def test_jobs_are_of_the_order_of_what_snakemake_counts(study: dict[str, Any]) -> None:
    """238, 677, 1,001 and 110 jobs by `snakemake -n --forceall`."""
    for name, planned in {"smoke": 238, "cifar2": 677, "cifar10": 1001, "mnist": 110}.items():
        found = sum(limits.jobs(config.load(ROOT / f"config/{name}.yaml", SCHEMA)).values())
        assert planned / 2 < found < planned * 2, name
    assert sum(limits.jobs(config.load(ROOT / "config/smoke.yaml", SCHEMA)).values()) < limits.JOBS
