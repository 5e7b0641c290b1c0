"""Cohort names: complete, without overlap, stable when a design grows, read back exactly as written."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import StudyError
from attribution.workflow import paths


def design(subsets: int, replicates: int, control: int, cohort: int) -> dict[str, Any]:
    sizes = {"subsets": subsets, "replicates": replicates, "control_subsets": control, "cohort": cohort}
    return {"design": sizes}


def test_names_of_the_digits_study(study: dict[str, Any]) -> None:
    assert paths.cohorts(study) == [
        "full",
        "crn0_000_031",
        "crn0_032_063",
        "crn1_000_031",
        "crn1_032_063",
        "own0_000_015",
        "own1_000_015",
    ]


def test_one_more_subset_adds_names_and_changes_none() -> None:
    before, after = (paths.cohorts(design(subsets, 2, 16, 32)) for subsets in (64, 65))
    assert [name for name in after if name not in before] == ["crn0_064_064", "crn1_064_064"]
    assert [name for name in before if name not in after] == []


def test_a_thousandth_subset_keeps_three_digits_elsewhere() -> None:
    """Padding all names to the widest number would retrain every model at the step from 1000 to 1001."""
    before, after = (paths.cohorts(design(subsets, 1, 0, 100)) for subsets in (1000, 1001))
    assert [name for name in after if name not in before] == ["crn0_1000_1000"]
    assert set(before) < set(after)


def test_without_a_control_there_are_no_own_cohorts() -> None:
    assert paths.cohorts(design(3, 1, 0, 2)) == ["full", "crn0_000_001", "crn0_002_002"]


@given(st.integers(2, 1100), st.integers(1, 3), st.integers(0, 40), st.integers(1, 200))
def test_cohorts_cover_every_model_once(subsets: int, replicates: int, control: int, cohort: int) -> None:
    names = paths.cohorts(design(subsets, replicates, control, cohort))
    assert len(set(names)) == len(names)
    models = [(one.stream, one.replicate, i) for one in map(paths.parse, names) for i in one.subsets]
    expected = [("full", 0, 0)]
    expected += [("crn", r, i) for r in range(replicates) for i in range(subsets)]
    expected += [("own", r, i) for r in range(replicates) for i in range(control)]
    assert models == expected
    for name in names:
        assert re.fullmatch(paths.COHORT, name)
        assert paths.parse(name).name == name


BAD = "ful crn0_00_31 crn0_0000_0031 crn_000_031 crn00_000_031 crn0_031_000 ext0_000_001 crn0_000 own0_000_001_2"


@pytest.mark.parametrize("name", ["", "crn0_000_031\n", *BAD.split()])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(StudyError, match="not a cohort"):
        paths.parse(name)


def study(train: int, shard: int, models: int) -> dict[str, Any]:
    return {"data": {"train": train}, "gradients": {"shard": shard}, "ensemble": {"models": models}}


@given(st.integers(2, 3000), st.integers(1, 3000))
def test_parts_cover_every_example_once(train: int, shard: int) -> None:
    names = paths.parts(study(train, shard, 2))
    covered = [row for name in names for row in range(paths.rows(name)["first"], paths.rows(name)["last"] + 1)]
    assert covered == list(range(train))
    assert all(re.fullmatch(paths.PART, name) for name in names)
    assert paths.rows("all") == {}


def test_the_models_of_an_ensemble_are_full_and_one_cohort() -> None:
    assert paths.models(study(10, 5, 3)) == ["full", "seed1", "seed2"]
    cohort = paths.seeds(study(10, 5, 3))
    assert cohort.name == "seeds0_001_002"
    assert paths.parse(cohort.name) == cohort
    assert re.fullmatch(paths.DESIGNED, cohort.name)


@pytest.mark.parametrize("name", ["enc64", "enc1437", "loo256"])
def test_cohorts_of_ablations_are_read_back(name: str) -> None:
    assert paths.parse(name).name == name
    assert re.fullmatch(paths.COHORT, name)
    assert re.fullmatch(paths.ABLATED, name)
    assert not re.fullmatch(paths.DESIGNED, name)


@pytest.mark.parametrize("name", ["enc064", "enc", "loo1_2", "enc-1"])
def test_other_names_of_ablations_are_refused(name: str) -> None:
    with pytest.raises(StudyError, match="not a cohort"):
        paths.parse(name)


def test_a_study_without_the_section_has_no_encoded_ensembles() -> None:
    assert paths.encoded({}) == []
    assert paths.encoded({"ablation": {"sizes": [64, 128]}}) == ["enc64", "enc128"]


def test_cohorts_of_coalitions_are_cut_and_read_back() -> None:
    """All, 10 without one, 10 alone, 5 that judge, 8 drawn: 34 that are fine-tuned, 5 that are trained anew."""
    choice = {"count": 10, "coalitions": 8, "judge": {"coalitions": 5}, "cohort": 20}
    config = {"contributors": choice}
    assert paths.coalitions(config, "sft") == ["sft0_000_019", "sft0_020_033"]
    assert paths.coalitions(config, "half") == ["half0_000_004"]
    for name in ("sft0_000_019", "half0_000_004", "sparse"):
        assert paths.parse(name).name == name
        assert re.fullmatch(paths.COHORT, name)
        assert bool(re.fullmatch(paths.TRAINED, name)) is (name == "half0_000_004")
    assert paths.coalitions({}, "sft") == []
