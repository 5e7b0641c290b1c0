"""Studies cut down: what is laid over what, names, and that every rule of the whole study is in the small one."""

from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow import datasets, paths, registry, scale

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
GPU = ("cifar2", "cifar10", "mnist", "artbench")


@pytest.fixture(scope="module")
def whole():
    return scale.studies(ROOT, SCHEMA)


@pytest.fixture(scope="module")
def tiny():
    return scale.studies(ROOT, SCHEMA, "tiny")


def test_what_is_laid_over_what():
    study = {"a": 1, "b": {"c": [1, 2], "d": 2}, "methods": {"x": {}, "y": {"z": 1}}, "removal": {"methods": ["x"]}}
    kept = {"a": 1, "b": {"c": [1, 2], "d": 2}, "methods": {"x": {}, "y": {"z": 1}}, "removal": {"methods": ["x"]}}
    found = scale.laid(study, {"b": {"c": [3]}}, {"a": None, "methods": ["y"], "removal": {"methods": ["y"]}}, None)
    assert found == {"b": {"c": [3], "d": 2}, "methods": {"y": {"z": 1}}, "removal": {"methods": ["y"]}}
    assert study == kept
    assert scale.laid(study, {"b": 5, "gone": None})["b"] == 5


def test_a_small_study_is_another_study(whole, tiny):
    assert list(tiny) == [f"{study}_tiny" for study in GPU]
    assert not set(tiny) & set(whole)
    for study in GPU:
        assert tiny[f"{study}_tiny"]["data"]["dataset"] == f"{study}_tiny"
        assert tiny[f"{study}_tiny"]["resources"]["gpu"] == 0
        assert whole[study]["resources"]["gpu"] == 1


@pytest.mark.parametrize("study", GPU)
def test_code_paths_are_those_of_the_whole_study(whole, tiny, study):
    """The same kinds of network, training, cohorts and modules of methods; values alone are smaller."""
    large, small = whole[study], tiny[f"{study}_tiny"]
    assert small.keys() == large.keys()
    for key in ("down_block_types", "up_block_types", "dropout", "resnet_time_scale_shift", "downsample_padding"):
        assert small["denoiser"][key] == large["denoiser"][key]
    assert small["denoiser"].keys() == large["denoiser"].keys()
    assert small["diffusion"] == large["diffusion"]
    assert small["training"].keys() == large["training"].keys()
    assert small["training"]["precision"] == large["training"]["precision"] == "bf16"
    assert small["gradients"]["bits"] == large["gradients"]["bits"] == 8
    assert len(paths.parts(small)) > 1
    streams = [{paths.parse(name).stream for name in paths.cohorts(config)} for config in (small, large)]
    assert streams[0] == streams[1]
    modules = [{registry.method(name).name for name in config["methods"]} for config in (small, large)]
    assert modules[0] <= modules[1]
    assert {"ekfac"} <= modules[0]
    assert datasets.facts(small["data"]["dataset"])["images"] < 1000


def test_targets_keep_the_names_of_the_whole_studies(whole, tiny):
    listed = {"published": ["digits"], "groups": {"smoke": ["smoke", "smoke_unet"], "gpu": ["cifar2", "mnist"]}}
    found = scale.targets(tiny, listed, "tiny")
    assert found == {study: [f"{study}_tiny"] for study in GPU} | {"gpu": ["cifar2_tiny", "mnist_tiny"]}
    assert scale.published(tiny, listed, "tiny") == list(tiny)
    assert scale.published(whole, listed, None) == ["digits"]
    assert scale.targets(whole, listed, None) == {study: [study] for study in whole} | listed["groups"]


def test_an_unknown_scale_or_study_is_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"--config scale=tinny: no such scale; did you mean tiny\?"):
        scale.studies(ROOT, SCHEMA, "tinny")
    (tmp_path / "config/scale").mkdir(parents=True)
    (tmp_path / "config/scale/small.yaml").write_text("every: {}\ncifar3: {}\n")
    (tmp_path / "config/cifar2.yaml").write_text((ROOT / "config/cifar2.yaml").read_text())
    with pytest.raises(StudyError, match=r"small\.yaml: cifar3: no such study; did you mean cifar2\?"):
        scale.studies(tmp_path, SCHEMA, "small")


@pytest.fixture
def tree(tmp_path):
    """Rules and two studies, `good` and `smoke`."""
    for name in ("good", "smoke"):
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / f"config/{name}.yaml").write_text("data: {dataset: digits, train: 500}\n")
    (tmp_path / "workflow/rules").mkdir(parents=True)
    (tmp_path / "workflow/rules/models.smk").write_text("rule train:\n    output: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["tiny-2.yaml", "Tiny.yaml", "2023.yaml", "train.yaml", "all.yaml", "gpu.yaml", "other.yml", "ä.yaml"]
)
def test_a_bad_name_is_one_line_for_who_asks_and_a_warning_for_the_rest(tree, capsys, name):
    (tree / "config" / name).write_text("data: {dataset: digits, train: 500}\n")
    found = scale.studies(tree, SCHEMA, None, {"gpu": ["good"], "smoke": ["smoke", "good"]})
    assert list(found) == ["good", "smoke"]
    found.ask(["good"])
    warned = capsys.readouterr().err
    assert warned.startswith("warning: ")
    assert f"{name} is no name of a study: write <name>.yaml, of small letters, digits and _, a letter first" in warned
    with pytest.raises(SystemExit, match="is no name of a study"):
        found.ask([Path(name).stem])


def test_a_broken_config_is_an_error_for_who_asks_and_a_warning_for_the_rest(tree, capsys):
    (tree / "config/half.yaml").write_text("data: {dataset: dig")
    found = scale.studies(tree, SCHEMA)
    found.ask(["good"])
    assert "half.yaml:2: not valid YAML" in capsys.readouterr().err
    for ask in (lambda: found.ask(["good", "half"]), lambda: found["half"]):
        with pytest.raises(SystemExit, match=r"half\.yaml:2: not valid YAML"):
            ask()
    with pytest.raises(SystemExit, match=r"smok: no such study; did you mean smoke\?"):
        found["smok"]
    listed = {"published": ["half"], "groups": {"both": ["good", "half"]}}
    assert scale.asked([], found, listed, None) == ["half"]
    assert "half" in scale.asked(["both"], found, listed, None)
    assert "half" not in scale.asked(["good"], found, listed, None)


def test_hidden_files_are_no_studies(tree, capsys):
    for name in (".#good.yaml", "._good.yaml", ".good.yaml.swp"):
        (tree / "config" / name).write_bytes(b"\x00\x05\x16\x07")
    (tree / "config/.#smoke.yaml").symlink_to("someone@host.1234:5678")  # as Emacs locks a file
    found = scale.studies(tree, SCHEMA)
    assert list(found) == ["good", "smoke"]
    found.ask(["good"])
    assert not capsys.readouterr().err
