"""A config is refused with one line that names the file, the key, the value and what is allowed."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from attribution.errors import StudyError
from attribution.workflow import config, config_schema

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "study.schema.yaml"
DELETED = object()
Load = Callable[[str], dict[str, Any]]


def changed(study: dict[str, Any], key: str, value: Any) -> str:
    """The study's text with one dotted key set, or taken out."""
    *sections, last = key.split(".")
    place = study
    for name in sections:
        place = place[name]
    if value is DELETED:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(study, sort_keys=False)


def message(load: Load, text: str) -> str:
    """The refusal without the folder; it must be one line."""
    with pytest.raises(StudyError) as refusal:
        load(text)
    line = str(refusal.value)
    assert "\n" not in line
    return line[line.index("study.yaml") :]


def test_a_whole_study_loads(load: Load, study: dict[str, Any], unet: dict[str, Any]) -> None:
    assert load(yaml.safe_dump(study)) == study
    for head in (8, None):
        study["denoiser"] = unet | {"attention_head_dim": head}
        assert load(yaml.safe_dump(study)) == study


@pytest.mark.parametrize("key", ["title", "methods.pixel_l2", "draws_sweep"])
def test_optional_keys_may_be_left_out(load: Load, study: dict[str, Any], key: str) -> None:
    study["methods"]["pixel_l2"] = {}
    load(changed(study, key, DELETED))


def test_what_has_no_default_is_required(load: Load, study: dict[str, Any]) -> None:
    """One by one, so that a key forgotten in a `required` list is found."""
    dotted = ["data", "data.train", "data.dataset", "denoiser.kind", "draws_sweep.draws"]
    for key in dotted:
        text = changed(yaml.safe_load(yaml.safe_dump(study)), key, DELETED)
        assert message(load, text).startswith(f"study.yaml: {key}: missing; "), key


def test_settings_of_a_method_that_are_left_out_are_those_declared(load: Load, study: dict[str, Any]) -> None:
    study["methods"] |= {"trak": {"damping": 1.0}, "dtrak": {}, "ekfac_mine": {"bits": 8}}
    found = load(yaml.safe_dump(study))["methods"]
    kernel = [0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
    common = {"feature": "loss", "projection": "none", "dampings": kernel}
    assert found["trak"] == common | {"measurement": "loss", "damping": 1.0}
    assert found["dtrak"] == common | {"measurement": "squared_norm", "feature": "squared_norm", "damping": 0.1}
    assert found["ekfac_mine"]["bits"] == 8
    assert found["ekfac_mine"]["curvature"] == "model"


def test_every_other_key_has_its_default(study: dict[str, Any], unet: dict[str, Any]) -> None:
    """One by one: the study without the key is the study with the default of the schema, however deep it stands."""
    schema = config.schema_in(SCHEMA)
    optional = {"title", "data", "methods", "draws_sweep"}
    for denoiser in (study["denoiser"], unet):
        study["denoiser"] = denoiser
        sections = [name for name in study if name not in optional | {"seed"}]
        dotted = ["seed", *(f"{name}.{key}" for name in sections for key in study[name] if key != "kind")]
        dotted += [f"curvature.kinds.model.{key}" for key in study["curvature"]["kinds"]["model"]]
        for key in dotted:
            part, place = schema, study
            for name in key.split("."):
                if "oneOf" in part:
                    part = part["oneOf"][config_schema.kinds(part).index(place["kind"])]
                part, place = config_schema.schema_of(part, name, schema), place[name]
            found = config.resolved(yaml.safe_load(changed(copy.deepcopy(study), key, DELETED)), schema)
            for name in key.split("."):
                found = found[name]
            if key != "curvature.kinds":  # its default is filled in turn
                assert found == part["default"], key
            assert type(found) is type(place), key


def test_a_study_is_its_data(load: Load) -> None:
    """All else is filled, nested defaults too, and every filled value passes the schema and the rules."""
    found = load("data: {dataset: digits, train: 500}\n")
    assert found["denoiser"] == {"kind": "mlp", "width": 128, "depth": 3, "time_features": 32}
    assert found["curvature"]["kinds"] == {"model": {"fisher": "mc", "draws": 50, "sharing": "expand"}}
    assert list(found["methods"]) == ["random", "pixel_l2", "gradient_dot", "trak", "ekfac"]
    absent = {"title", "draws_sweep", "unlearning", "counterfactual", "ablation", "contributors"}
    assert found.keys() == config.schema_in(SCHEMA)["properties"].keys() - absent
    assert load("data: {dataset: digits, train: 500}\ntraining: {steps: 7}\n")["training"]["batch"] == 64
    partly = load("data: {dataset: digits, train: 500}\ndenoiser: {kind: unet, dropout: 0.5}\n")["denoiser"]
    assert (partly["dropout"], partly["block_out_channels"]) == (0.5, [16, 32])


def test_defaults_that_depend_on_others_are_lowered_and_what_is_written_is_not(load: Load) -> None:
    few = "data: {dataset: digits, train: 15}\n"
    found = load(few + "training: {steps: 3}\n")
    assert found["training"]["batch"] == 7  # 7.5 examples of a subset; 64 would be refused
    assert (found["training"]["warmup_steps"], found["checkpoints"]["count"]) == (3, 3)
    assert found["queries"]["training"] == 15
    assert "training.batch: 64 is more than the 7.5 examples" in message(load, few + "training: {batch: 64}\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{train: 9}", "data.dataset: missing; name a data set (artbench,"),
        ("{dataset: digits, folder: x, train: 9}", "data.folder: beside data.dataset; keep one of them"),
        ("{dataset: digits, size: 8, train: 9}", "data.size: is of a folder's images alone; drop it"),
        ("{folder: nowhere, train: 9}", "data.folder: nowhere: no such folder or archive"),
        ("{folder: nowhere, train: 9, autoencoder: tiny_autoencoder}", "data.autoencoder: goes with a data set"),
    ],
)
def test_refusals_of_data(load: Load, data: str, expected: str) -> None:
    assert message(load, f"data: {data}\n").startswith(f"study.yaml: {expected}")


def test_a_folder_is_held_to_its_numbers(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 30), ("test", 8)):
        for number in range(count):
            path = tmp_path / f"images/{part}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"read by the job alone")
    text = "data: {{folder: images, train: {}}}\nqueries: {{heldout: {}}}\n"
    assert load(text.format(30, 8))["data"] == {"folder": "images", "train": 30}
    assert "data.train: 31 is more than the training images of images (30)" in message(load, text.format(31, 1))
    assert "queries.heldout: 9 is more than the test images of images (8)" in message(load, text.format(20, 9))
    wanted = "counterfactual: {methods: [random], leave: {count: 1, queries: 1, replicates: 1}, "
    wanted += "joint: {count: 1, queries: 1, controls: 0, replicates: 1}}\n"
    assert "counterfactual: needs classes of images, and images has none" in message(load, text.format(20, 8) + wanted)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "resources: {runtime: 1:00:00}",
            "resources.runtime: '1:00:00' is not allowed; a time is written in minutes: 60 ",
        ),
        ("resources: {runtime: 90:00}", "resources.runtime: '90:00' is not allowed; a time is written in minutes: 90 "),
        ("sampling: {clip: no}", "sampling.clip: 'no' is not allowed; write true or false "),
        ("gradients: {bits: abc}", "gradients.bits: 'abc' is not allowed; (expected one of 8, 32)"),
        ("seed: 1_000", "seed: '1_000' is not allowed"),
        ("seed: 0x1F", "seed: '0x1F' is not allowed"),
        ("title: 2026-01-01\nseed: 2026-01-01", "seed: '2026-01-01' is not allowed"),
        (
            "training: {learning_rate: '1e-3'}",
            "training.learning_rate: '1e-3' is not allowed; YAML reads that as text, wr",
        ),
        ("training: !!python/tuple [1]", "1: not valid YAML (could not determine a constructor"),
    ],
)
def test_scalars_that_other_versions_of_yaml_turn_into_something_else(load: Load, line: str, expected: str) -> None:
    """YAML 1.1 would ask for 3,600 minutes, clip nothing, and take a date or 1000 for the seed."""
    text = f"{line}\ndata: {{dataset: digits, train: 500}}\n"
    assert message(load, text).removeprefix("study.yaml:").lstrip().startswith(expected)


def test_numbers_merge_keys_and_anchors_are_read(load: Load) -> None:
    text = "data: {dataset: digits, train: 0500}\ntraining: {learning_rate: 1e-3, weight_decay: .5, clip_norm: +2}\n"
    text += "curvature:\n  kinds:\n    model: &k {fisher: type2, draws: 3}\n    other: {<<: *k, draws: 4}\n"
    found = load(text)
    assert found["data"]["train"] == 500  # eight times eight times five in YAML 1.1
    assert [found["training"][key] for key in ("learning_rate", "weight_decay", "clip_norm")] == [0.001, 0.5, 2.0]
    assert found["curvature"]["kinds"]["other"] == {"fisher": "type2", "draws": 4, "sharing": "expand"}


def test_unknown_key_names_the_nearest(load: Load, study: dict[str, Any]) -> None:
    study["training"]["lerning_rate"] = study["training"].pop("learning_rate")
    line = message(load, yaml.safe_dump(study))
    assert line.startswith(
        "study.yaml: training.lerning_rate: unknown key; did you mean learning_rate? (allowed: steps, batch,"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("extra", 1, "extra: unknown key; (allowed: title, seed, data,"),
        ("methods.track", {}, "methods.track: unknown key; did you mean trak? (allowed: random,"),
        (
            "methods.trak.damp",
            1,
            "methods.trak.damp: unknown key; did you mean damping? (allowed: measurement, feature, projection,",
        ),
        ("methods.random.x", 1, "methods.random.x: unknown key; (allowed: none)"),
        ("methods.random", None, "methods.random: None is not allowed; write {} after the colon (expected {})"),
        ("methods", {}, "methods: {} is not allowed"),
        (
            "training.steps",
            None,
            "training.steps: None is not allowed; the key has no value (expected integer >= 1 and",
        ),
        (
            "data.dataset",
            "digit",
            "data.dataset: 'digit' is not allowed; did you mean digits? (expected one of artbench,",
        ),
        ("data.train", 1, "data.train: 1 is not allowed; (expected integer >= 2 and"),
        ("seed", 0.0, "seed: 0.0 is not allowed; (expected integer >= 0 and"),
        ("seed", True, "seed: True is not allowed"),
        ("training.steps", 1000.0, "training.steps: 1000.0 is not allowed; (expected integer >= 1 and"),
        ("training.steps", "many", "training.steps: 'many' is not allowed; (expected integer >= 1 and"),
        ("training.learning_rate", float("nan"), "training.learning_rate: nan is not allowed"),
        ("training.clip_norm", float("inf"), "training.clip_norm: inf is not allowed"),
        ("training.ema_decay", 1, "training.ema_decay: 1 is not allowed; (expected number >= 0 and < 1)"),
        ("training", 3, "training: 3 is not allowed; (expected keys steps, batch,"),
        ("design.fraction", 1.0, "design.fraction: 1.0 is not allowed; (expected number > 0 and < 1)"),
        (
            "diffusion.beta_schedule",
            "cosine",
            "diffusion.beta_schedule: 'cosine' is not allowed; (expected one of linear,",
        ),
        (
            "curvature.kinds.model.fisher",
            "exact",
            "curvature.kinds.model.fisher: 'exact' is not allowed; (expected one of mc, type2, empirical, averaged)",
        ),
        ("curvature.kinds", {}, "curvature.kinds: {} is not allowed"),
        ("methods.trakk", {}, "methods.trakk: unknown key; did you mean trak? (allowed: random, pixel_cosine,"),
        ("methods.ensemble_b", {}, "methods.ensemble_b.of: missing; the method"),
        ("methods.exact_ggn", {}, "methods.exact_ggn: unknown key; "),
        ("methods.trak.projection", "count", "methods.trak.projection: 'count' is not allowed; (expected text like"),
        (
            "methods.ekfac.measurement",
            "loss_at_1000",
            "methods.ekfac.measurement: loss_at_1000: the timesteps are 0 to",
        ),
        (
            "methods.trak.measurement",
            "output",
            "methods.trak.measurement: 'output' is not allowed; (expected text like",
        ),
        ("methods.ekfac.curvature", "modal", "methods.ekfac.curvature: 'modal' is none of curvature.kinds (model)"),
        (
            "methods.ensemble_trak.of",
            "random",
            "methods.ensemble_trak.of: 'random' is no method of the study that works",
        ),
        ("measurement.quantities", ["loss", "loss_at_2000"], "measurement.quantities: loss_at_2000: the timesteps are"),
        ("checkpoints.count", 3001, "checkpoints.count: 3001 is more than training.steps (3000)"),
        ("evaluation.compare", [["ekfac", "das"]], "evaluation.compare: das not among the study's methods"),
        ("draws_sweep.draws", [10, 0], "draws_sweep.draws[1]: 0 is not allowed; (expected integer >= 1 and"),
        ("methods.trak.dampings", [0.1, 0.1], "methods.trak.dampings: [0.1, 0.1] holds a value twice"),
        ("methods.trak.dampings", [], "methods.trak.dampings: [] is not allowed; (expected list of number >= 1e-12"),
        ("denoiser.kind", "mpl", "denoiser.kind: 'mpl' is not allowed; did you mean mlp? (kind: one of mlp, unet)"),
        (
            "denoiser.kind",
            DELETED,
            "denoiser.kind: missing; the network that predicts the noise (kind: one of mlp, unet)",
        ),
        ("denoiser.width", 0, "denoiser.width: 0 is not allowed; (expected integer >= 1 and"),
        (
            "denoiser.time_features",
            33,
            "denoiser.time_features: 33 is not allowed; (expected integer >= 2 and <= 4096 and a multiple of 2)",
        ),
        ("denoiser.dropout", 0.1, "denoiser.dropout: unknown key; (allowed: kind, width, depth, time_features)"),
        ("denoiser", None, "denoiser.kind: missing"),
        # rules between keys
        ("design.control_subsets", 65, "design.control_subsets: 65 is more than design.subsets (64)"),
        ("queries.training", 1001, "queries.training: 1001 is more than data.train (1000)"),
        ("queries.heldout", 798, "data.train: 1000 with queries.heldout 798 is more than the 1797 images of digits"),
        ("diffusion.beta_start", 0.03, "diffusion.beta_start: 0.03 is more than diffusion.beta_end (0.02)"),
        ("sampling.steps", 1001, "sampling.steps: 1001 is more than diffusion.timesteps (1000)"),
        ("training.batch", 501, "training.batch: 501 is more than the 500 examples of a subset"),
        ("training.warmup_steps", 3001, "training.warmup_steps: 3001 is more than training.steps (3000)"),
        ("methods.ekfac.damping", 0.2, "methods.ekfac.damping: 0.2 is not one of its dampings [0.0001,"),
        ("draws_sweep.draws", [10, 10, 30], "draws_sweep.draws: [10, 10, 30] must increase"),
        ("draws_sweep.draws", [10, 1001], "draws_sweep.draws: 1001 is more than gradients.draws (1000)"),
    ],
)
def test_refusals(load: Load, study: dict[str, Any], key: str, value: Any, expected: str) -> None:
    assert message(load, changed(study, key, value)).startswith(f"study.yaml: {expected}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("design.control_subsets", 64),
        ("queries.training", 1000),
        ("queries.heldout", 797),
        ("diffusion.beta_start", 0.02),
        ("sampling.steps", 1000),
        ("training.batch", 500),
        ("training.warmup_steps", 3000),
        ("draws_sweep.draws", [1000]),
    ],
)
def test_limits_themselves_are_allowed(load: Load, study: dict[str, Any], key: str, value: Any) -> None:
    load(changed(study, key, value))


ABLATION = {
    "members": 16,
    "code": "level",
    "unit": "image",
    "sizes": [64, 1000, 1437],
    "samples": 5,
    "steps": 50,
    "batch": 1000,
    "nulls": 10,
    "top": 10,
    "quality": 360,
    "retrain": {"size": 64, "units": 4, "replicates": 2},
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("sizes", [1000, 64], "ablation.sizes: [1000, 64] must increase"),
        ("sizes", [64, 999], "ablation.sizes: must hold data.train (1000)"),
        ("sizes", [64, 1000, 1438], "ablation.sizes: 1438, and ablation.quality or queries.heldout held out"),
        ("quality", 1001, "ablation.sizes: 1437, and"),
        ("steps", 1001, "ablation.steps: 1001 is more than diffusion.timesteps (1000)"),
        ("top", 65, "ablation.top: 65 is more than the smallest of ablation.sizes (64)"),
        ("members", 7, "ablation.members: 7 is not allowed"),
        ("retrain", {"size": 65, "units": 4, "replicates": 2}, "ablation.retrain.size: 65 is none of"),
        ("retrain", {"size": 64, "units": 65, "replicates": 2}, "ablation.retrain.units: 65 is more than"),
        ("retrain", {"size": 64, "units": 4}, "ablation.retrain.replicates: missing"),
    ],
)
def test_refusals_of_encoded_ensembles(load: Load, study: dict[str, Any], key: str, value: Any, expected: str) -> None:
    study["methods"]["ablation"] = {}
    study["ablation"] = ABLATION
    load(yaml.safe_dump(study))
    study["ablation"] = ABLATION | {key: value}
    assert message(load, yaml.safe_dump(study)).startswith(f"study.yaml: {expected}")


CONTRIBUTORS = {
    "count": 20,
    "coalitions": 40,
    "judge": {"coalitions": 16, "fraction": 0.5},
    "cohort": 32,
    "sparsity": 0.3,
    "recover": {"steps": 100, "learning_rate": 0.001},
    "finetune": {"steps": 100, "learning_rate": 0.001},
    "samples": 100,
    "steps": 50,
    "batch": 10000,
    "methods": ["trak"],
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("methods", ["trak", "tracc"], "contributors.methods: tracc not among the study's methods"),
        ("count", 1001, "contributors.count: 1001 is more than data.train (1000)"),
        ("count", 3, "contributors.count: 3 is not allowed"),
        ("coalitions", 41, "contributors.coalitions: 41 is not allowed"),  # they come in pairs
        ("sparsity", 1.0, "contributors.sparsity: 1.0 is not allowed"),
        ("judge", {"coalitions": 16, "fraction": 0.01}, "contributors.judge.fraction: 0.01 of 20 contributors is none"),
        ("judge", {"coalitions": 21, "fraction": 0.05}, "contributors.judge.coalitions: 21 is more than"),
        ("steps", 1001, "contributors.steps: 1001 is more than diffusion.timesteps (1000)"),
        ("finetune", {"steps": 100}, "contributors.finetune.learning_rate: missing"),
    ],
)
def test_refusals_of_contributors(load: Load, study: dict[str, Any], key: str, value: Any, expected: str) -> None:
    study["contributors"] = CONTRIBUTORS
    load(yaml.safe_dump(study))
    study["contributors"] = CONTRIBUTORS | {key: value}
    assert message(load, yaml.safe_dump(study)).startswith(f"study.yaml: {expected}")


def test_the_method_and_its_ensembles_come_together(load: Load, study: dict[str, Any]) -> None:
    study["methods"]["ablation"] = {}
    assert message(load, yaml.safe_dump(study)).startswith("study.yaml: methods.ablation: needs the section ablation")
    del study["methods"]["ablation"]
    study["ablation"] = ABLATION
    assert "methods the method ablation" in message(load, yaml.safe_dump(study))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "norm_num_groups",
            3,
            "denoiser.norm_num_groups: 3 does not divide each of denoiser.block",
        ),
        (
            "attention_head_dim",
            0.5,
            "denoiser.attention_head_dim: 0.5 is not allowed; (expected integer or null >= 1 and <= 8192)",
        ),
        ("up_block_types", ["UpBlock2D"], "denoiser.up_block_types: 1 blocks for the 2 entries"),
        (
            "down_block_types",
            ["UpBlock2D", "DownBlock2D"],
            "denoiser.down_block_types[0]: 'UpBlock2D' is not allowed; did you",
        ),
        ("width", 3, "denoiser.width: unknown key; (allowed: kind, block_out_channels,"),
    ],
)
def test_refusals_of_a_unet(
    load: Load, study: dict[str, Any], unet: dict[str, Any], key: str, value: Any, expected: str
) -> None:
    study["denoiser"] = unet | {key: value}
    assert message(load, yaml.safe_dump(study)).startswith(f"study.yaml: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 0\ntitle: a\nseed: 1\n", "study.yaml:3: seed: given twice"),
        ("data: {train: 3, train: 4}\n", "study.yaml:1: train: given twice"),
        ("1: 2\n", "study.yaml:1: the key 1 is not a word"),
        ("seed: [1\n", "study.yaml:2: not valid YAML"),
        ("", "study.yaml: None is not allowed"),
        ("- 1\n", "study.yaml: [1] is not allowed"),
    ],
)
def test_what_is_no_config_at_all(load: Load, text: str, expected: str) -> None:
    assert message(load, text).startswith(expected)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        config.load(tmp_path / "none.yaml", SCHEMA)


def test_whole_numbers_become_floats_where_the_schema_says_number(load: Load, study: dict[str, Any]) -> None:
    """`eta: 0` and `eta: 0.0` are one study; with 0 left as it is its canonical spec would rerun everything below."""
    study["sampling"]["eta"] = 0
    study["methods"]["trak"]["dampings"][3] = 1
    loaded = load(yaml.safe_dump(study))
    assert isinstance(loaded["sampling"]["eta"], float)
    assert all(isinstance(value, float) for value in loaded["methods"]["trak"]["dampings"])
    assert isinstance(loaded["training"]["steps"], int)


def test_one_tenth_of_a_hundred_holds_ten(load: Load, study: dict[str, Any]) -> None:
    """0.29 * 100 is 28.999999999999996; without a margin a batch of 29 would be refused."""
    study["data"]["train"], study["design"]["fraction"], study["training"]["batch"] = 100, 0.29, 29
    load(yaml.safe_dump(study))


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every schema of a mapping, at any depth."""
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for item in schema.values() for found in objects(item)]


def test_schema_is_closed_and_says_what_every_key_means() -> None:
    schema = config.read_yaml(SCHEMA)
    found = objects(schema)
    assert len(found) > 14
    for mapping in found:
        assert mapping["additionalProperties"] is False
        assert set(mapping.get("required", [])) <= set(mapping.get("properties", {}))
        for name, part in (mapping.get("properties", {}) | mapping.get("patternProperties", {})).items():
            assert config_schema.resolve(part, schema).get("description"), name


def test_published_configs_are_valid_and_hold_all_that_they_mean() -> None:
    """Every study in config/ writes its keys in full: no default is filled in, so that none can change it."""
    for path in sorted((ROOT / "config").glob("[a-z]*.yaml")):
        if path.name not in ("config.yaml", "claims.yaml"):
            assert config.load(path, SCHEMA) == yaml.safe_load(path.read_text())
