"""Files of encoded ensembles: which cohorts a rule reads, and what a study without them ends in."""

from types import SimpleNamespace

import pytest

from attribution.workflow import rule_inputs

ABLATION = {"sizes": [64, 100], "retrain": {"size": 64}}
STUDIES = {"with": {"data": {"train": 100}, "ablation": ABLATION}, "without": {"data": {"train": 100}}}


@pytest.mark.parametrize(
    ("which", "expected"),
    [("every", ["enc64", "enc100"]), ("main", ["enc100"]), ("retrained", ["enc64"]), ("left_out", ["loo64"])],
)
def test_cohorts(which: str, expected: list[str]) -> None:
    of = rule_inputs.each(STUDIES, "ablation", "{study}/{cohort}", which)
    assert of(SimpleNamespace(study="with")) == [f"with/{name}" for name in expected]
    assert of(SimpleNamespace(study="without")) == []


def test_a_file_of_the_study_is_named_once() -> None:
    of = rule_inputs.each(STUDIES, "ablation", "{study}/file", "every")
    assert of(SimpleNamespace(study="with")) == ["with/file"]


@pytest.mark.parametrize(
    ("cohort", "file"), [("full", "images/train"), ("crn0_000_003", "images/train"), ("enc64", "pool/pool")]
)
def test_encoded_ensembles_are_trained_on_the_pool(cohort: str, file: str) -> None:
    """The path of other cohorts is the one that models so far were trained with: no job is run again."""
    found = rule_inputs.of_images(SimpleNamespace(study="s", cohort=cohort))
    assert found == f"results/s/data/{file}.safetensors"


def test_ends() -> None:
    found = rule_inputs.ends(STUDIES, ["{study}/numbers"], {"ablation": ["{study}/ablation"]}, ["with", "without"])
    assert found == ["with/numbers", "with/ablation", "without/numbers"]
