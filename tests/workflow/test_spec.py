"""Canonical specs tell values apart that Snakemake's params do not; selection refuses what is not there."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import StudyError
from attribution.workflow import spec


def test_swapped_values_differ_and_order_does_not() -> None:
    assert spec.canonical({"a": 1, "b": 2}) != spec.canonical({"a": 2, "b": 1})
    assert spec.canonical({"a": 1, "b": 2}) == spec.canonical({"b": 2, "a": 1}) == '{"a":1,"b":2}'
    assert spec.canonical([1, 2]) != spec.canonical([2, 1])


def test_types_of_values_differ() -> None:
    forms = [spec.canonical(value) for value in (1, 1.0, "1", True, None, [1], {"1": 1})]
    assert len(set(forms)) == len(forms)
    assert forms[:2] == ["1", "1.0"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_form_is_one_line_and_loses_nothing(value: Any) -> None:
    text = spec.canonical(value)
    assert json.loads(text) == value
    assert spec.canonical(json.loads(text)) == text
    assert "\n" not in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {"b": [float("-inf")]}}, {1: 2}, {"a": {3}}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(StudyError, match="^spec "):
        spec.canonical(value)


def test_selection_is_nested_and_a_copy(study: dict[str, Any]) -> None:
    chosen = spec.select(study, "seed training data.train methods.trak")
    assert chosen == {
        "seed": 0,
        "training": study["training"],
        "data": {"train": 1000},
        "methods": {"trak": study["methods"]["trak"]},
    }
    chosen["training"]["steps"] = 1
    assert study["training"]["steps"] == 3000


@pytest.mark.parametrize("keys", ["data data.train", "data.train data"])
def test_overlapping_keys_give_the_larger_part(study: dict[str, Any], keys: str) -> None:
    assert spec.select(study, keys) == {"data": study["data"]}


def test_optional_keys(study: dict[str, Any]) -> None:
    del study["draws_sweep"]
    assert spec.select(study, "seed draws_sweep? draws_sweep.draws? data.train?") == {
        "seed": 0,
        "data": {"train": 1000},
    }


@pytest.mark.parametrize("key", ["methods.trak.damping", "methods.trak.absent", "methods.absent.damping"])
def test_a_key_after_a_minus_is_left_out(study: dict[str, Any], key: str) -> None:
    chosen = spec.select(study, f"methods.trak -{key}")
    whole = study["methods"]["trak"]
    assert chosen == {"methods": {"trak": {k: v for k, v in whole.items() if key != f"methods.trak.{k}"}}}
    assert "damping" in whole  # a copy was cut


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("trainin", r"^trainin: no such key in the config; did you mean training\?"),
        ("training.stebs", r"^training\.stebs: no such key in the config; did you mean steps\?"),
        ("seed.x", r"^seed\.x: no such key in the config; \(present: none\)$"),
        ("dta.train", r"^dta\.train: no such key in the config; did you mean data\?"),
    ],
)
def test_unknown_keys_are_refused(study: dict[str, Any], keys: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        spec.select(study, keys)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with both locks, in an environment that says nothing about which one it is made from."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/cpu.lock.txt").write_text("torch==2.13.0\nnumpy==2.4.6\n")
    (tmp_path / "envs/cuda.lock.txt").write_text("torch==2.13.0+cu130\nnumpy==2.4.6\n")
    (tmp_path / "prefix").mkdir()
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    monkeypatch.delenv("ATTRIBUTION_LOCK", raising=False)
    return tmp_path


def test_lock_hash_is_of_the_pins_alone(lock: Path) -> None:
    before = spec.lock_hash(lock)
    path = lock / "envs/cpu.lock.txt"
    path.write_text("# the CPU build\n\nnumpy==2.4.6   # arrays\ntorch==2.13.0\n")
    assert spec.lock_hash(lock) == before
    path.write_text("torch==2.13.1\nnumpy==2.4.6\n")
    assert spec.lock_hash(lock) != before


def test_which_lock(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = spec.lock_hash(lock)
    monkeypatch.setenv("ATTRIBUTION_LOCK", "cuda")
    cuda = spec.lock_hash(lock)
    assert cuda != cpu
    (lock / "prefix/attribution-lock").write_text("cpu\n")  # what the environment was made from outweighs a variable
    assert spec.lock_hash(lock) == cpu


def test_missing_lock_names_those_present(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_LOCK", "rocm")
    present = r"\(present: cpu\.lock\.txt, cuda\.lock\.txt\)"
    with pytest.raises(StudyError, match=rf"rocm\.lock\.txt: no such lock file {present}"):
        spec.lock_hash(lock)
