"""Configs of unlearning and its judges: what must fit together, and the files and cohorts that follow from them."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from attribution.errors import StudyError
from attribution.workflow import paths, rule_inputs

SECTIONS = """
unlearning:
  cohort: 60
  batch: 1000
  null_loss: unit
  banks: {main: {draws: 100, grid: karras, fraction: 0.7, shared: all}}
  kinds:
    mirrored: {parameters: [hidden], biases: false, batch: 100, retain: 1.0, forget: 0.2, bounded: true, stop: 0.95,
      max_steps: 100, learning_rate: 0.001, weight_decay: 0.01}
    newton: {parameters: [hidden], biases: true, inverse: diagonal, draws: 5, damping: 0.1, unit: block, step: 1.0}
    newton_ekfac: {parameters: [hidden], biases: true, inverse: model, draws: 5, damping: 0.1, unit: block, step: 1.0}
  prefilter: {method: mucs, by: [trak], top: 20, candidates: [100], sample: 30, rounds: [1, 3]}
counterfactual:
  methods: [random, mucs]
  leave: {count: 50, queries: 10, replicates: 1}
  joint: {count: 20, queries: 10, controls: 10, replicates: 3}
"""
METHODS = {
    "mucs": {"unlearned": "mirrored", "bank": "main", "score": "skew", "floor": 0.001},
    "abu": {"unlearned": "newton", "bank": "main", "score": "difference", "floor": 0.0},
    "ensemble_rank": {"members": ["trak", "ekfac"]},
}


@pytest.fixture
def whole(study: dict[str, Any]) -> dict[str, Any]:
    found = study | yaml.safe_load(SECTIONS)
    return found | {"methods": study["methods"] | deepcopy(METHODS)}


def test_the_sections_are_valid_and_optional(load, study: dict[str, Any], whole: dict[str, Any]) -> None:
    loaded = load(yaml.safe_dump(whole))
    assert loaded["unlearning"]["cohort"] == 60
    assert paths.counterfactuals(loaded) == [
        *("leave0_random", "leave50_random", "joint20_random", "leave50_mucs", "joint20_mucs")
    ]
    assert paths.counterfactuals(load(yaml.safe_dump(study))) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("methods.mucs.unlearned", "mirror", "methods.mucs.unlearned: 'mirror' is none of unlearning.kinds (mirrored,"),
        ("methods.mucs.bank", "large", "methods.mucs.bank: 'large' is none of unlearning.banks (main)"),
        ("methods.mucs.score", "ratio", "methods.mucs.score: 'ratio' is not allowed; (expected one of skew,"),
        ("methods.ensemble_rank.members", ["trak", "tracin"], "methods.ensemble_rank.members: 'tracin' is no method"),
        ("unlearning.kinds.mirrored.batch", 1001, "unlearning.kinds.mirrored.batch: 1001 is more than data.train"),
        ("unlearning.kinds.mirrored.stop", 1.1, "unlearning.kinds.mirrored.stop: 1.1 is not allowed"),
        ("unlearning.kinds.mirrored.parameters", ["mlp"], "unlearning.kinds.mirrored.parameters[0]: 'mlp' is not"),
        ("unlearning.kinds.newton_ekfac.inverse", "modal", "unlearning.kinds.newton_ekfac.inverse: 'modal' is neither"),
        ("unlearning.kinds.shrink", {}, "unlearning.kinds.shrink: unknown key"),
        ("unlearning.prefilter.by", ["das"], "unlearning.prefilter: das not among the study's methods"),
        ("unlearning.prefilter.method", "abu", "unlearning.prefilter.method: 'abu' is not scored by a skew"),
        (
            "unlearning.prefilter.candidates",
            [971],
            "unlearning.prefilter.candidates: 971 with unlearning.prefilter.sam",
        ),
        ("counterfactual.methods", ["mucs"], "counterfactual.methods: ['mucs'] is not allowed"),
        ("counterfactual.methods", ["random", "das"], "counterfactual.methods: das not among the study's methods"),
        ("counterfactual.leave.queries", 51, "counterfactual.leave.queries: 51 is more than queries.generated (50)"),
        ("counterfactual.joint.controls", 41, "counterfactual.joint.controls: 41 with joint.queries 10 is more than"),
        ("counterfactual.joint.count", 94, "counterfactual.joint.count: 940 is more than what leaves a batch"),
    ],
)
def test_refusals(load, whole: dict[str, Any], key: str, value: Any, expected: str) -> None:
    *sections, last = key.split(".")
    place = whole
    for section in sections:
        place = place[section]
    place[last] = value
    with pytest.raises(StudyError) as refusal:
        load(yaml.safe_dump(whole))
    assert str(refusal.value).partition("study.yaml: ")[2].startswith(expected)


@pytest.mark.parametrize("name", ["leave0_random", "leave50_mucs", "joint20_abu_plus"])
def test_counterfactual_cohorts_are_read_as_written(name: str) -> None:
    found = paths.parse(name)
    assert found.name == name
    assert (found.stream, found.ranking) == (name[:5], name.partition("_")[2])


@pytest.mark.parametrize("name", ["leave050_mucs", "leave_mucs", "joint20", "joint20_"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(StudyError, match="not a cohort"):
        paths.parse(name)


def test_files_of_unlearning(study: dict[str, Any], whole: dict[str, Any]) -> None:
    """150 queries in cohorts of 60; a diagonal needs no file of curvature, EK-FAC every part of it."""
    studies = {"s": whole}
    parts = paths.query_parts(whole)
    assert parts == ["000_059", "060_119", "120_149"]
    assert paths.query_parts(whole | {"unlearning": {"cohort": 150}}) == ["all"]
    method = SimpleNamespace(study="s", method="mucs")
    assert rule_inputs.each(studies, "of_unlearned", "{unlearned}/{part}")(method) == [
        f"mirrored/{part}" for part in parts
    ]
    for kind, expected in (("newton", []), ("newton_ekfac", ["model/000_399", "model/400_799", "model/800_999"])):
        kinds = SimpleNamespace(study="s", unlearned=kind)
        assert rule_inputs.each(studies, "of_inverse", "{inverse}/{part}")(kinds) == expected
    one = SimpleNamespace(study="s")
    assert rule_inputs.each(studies, "of_prefilter", "{bank}")(one) == ["main"]
    assert rule_inputs.each(studies, "of_prefilter", "{unlearned}/{part}")(one) == [
        f"mirrored/{part}" for part in parts
    ]
    assert rule_inputs.each(studies, "of_prefilter", "full/{by}")(one) == ["full/trak"]
    assert rule_inputs.each(studies, "of_section", "{study}/x", "counterfactual")(one) == ["s/x"]
    assert rule_inputs.each(studies, "of_members", "{method}")(SimpleNamespace(study="s", method="ensemble_rank")) == [
        "trak",
        "ekfac",
    ]
    plain = {"s": study}
    assert rule_inputs.each(plain, "of_prefilter", "{bank}")(one) == []
    assert rule_inputs.each(plain, "of_section", "{study}", "counterfactual")(one) == []
