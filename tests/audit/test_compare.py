"""What counts as the same, by class: each case beside one that is just too different."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from attribution.core.store import save_tensors
from attribution.provenance.compare import SPREAD, TOLERANCE, difference

ARRAYS = {"scores": np.linspace(-2, 2, 50, dtype=np.float32), "index": np.arange(5), "half": np.ones(3, np.float16)}


def compared(folder: Path, name: str, old: bytes | dict, new: bytes | dict, kind: str) -> str | None:
    for place, content in (("old", old), ("new", new)):
        (folder / place).mkdir(exist_ok=True)
        if isinstance(content, dict):
            save_tensors(folder / place / name, content)
        else:
            (folder / place / name).write_bytes(content)
    return difference(folder / "old" / name, folder / "new" / name, kind)


def test_equal_bytes_are_equal_in_every_class(tmp_path: Path) -> None:
    for kind in ("bitwise", "tolerance", "statistical"):
        assert compared(tmp_path, "x.bin", b"\x00\xff", b"\x00\xff", kind) is None


def test_bitwise_is_bitwise(tmp_path: Path) -> None:
    moved = ARRAYS | {"scores": ARRAYS["scores"] * (1 + 1e-7)}
    assert "not the same" in compared(tmp_path, "x.safetensors", ARRAYS, moved, "bitwise")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_arrays_within_tolerance_of_their_largest_number(dtype: type, tmp_path: Path) -> None:
    array = np.array([0.001, 1.0, 4.0, -8.0], dtype)
    moved = {factor: array.copy() for factor in (0.5, 3.0)}
    for factor, other in moved.items():
        other[0] += factor * TOLERANCE * 8
    assert compared(tmp_path, "x.safetensors", {"a": array}, {"a": moved[0.5]}, "tolerance") is None
    said = compared(tmp_path, "x.safetensors", {"a": array}, {"a": moved[3.0]}, "tolerance")
    assert said.startswith("a: differs by 0.02")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": np.array([0, 1, 2, 3, 5])}, "index: 1 whole numbers differ"),
        ({"scores": ARRAYS["scores"][::-1].copy()}, "scores: differs by 4"),
        ({"scores": ARRAYS["scores"].reshape(5, 10)}, "scores: another shape or type"),
        ({"scores": ARRAYS["scores"].astype(np.float64)}, "scores: another shape or type"),
        ({"scores": np.where(ARRAYS["scores"] > 1.9, np.nan, ARRAYS["scores"])}, "scores: differs by inf"),
        ({"more": np.ones(1)}, "arrays ['half', 'index', 'scores'], again ['half', 'index', 'more', 'scores']"),
    ],
)
def test_what_is_another_array(change: dict, said: str, tmp_path: Path) -> None:
    assert compared(tmp_path, "x.safetensors", ARRAYS, ARRAYS | change, "tolerance") == said or said in compared(
        tmp_path, "x.safetensors", ARRAYS, ARRAYS | change, "tolerance"
    )


def test_nan_in_the_same_places_is_the_same(tmp_path: Path) -> None:
    old = {"a": np.array([1.0, math.nan]), "b": np.array([1.0])}
    assert compared(tmp_path, "x.safetensors", old, old | {"b": np.array([1.0 + 1e-9])}, "tolerance") is None


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('{"lds": 0.7100001}', '{"lds": 0.7100002}', True),
        ('{"lds": 0.71}', '{"lds": 0.72}', False),
        ('{"lds": 0.71}', '{"lsd": 0.71}', False),
        ("a,0.5\nb,0.6\n", "a,0.6\nb,0.5\n", False),  # swapped
        ("a,0.5\n", "a,0.5\nb,0.5\n", False),
        ("x 1e-6 y", "x 1.0000001e-6 y", True),
        ("| A | −0.5 |", "| A | 0.5 |", False),
    ],
)
def test_texts_are_the_same_words_around_close_numbers(old: str, new: str, same: bool, tmp_path: Path) -> None:
    assert (compared(tmp_path, "x.json", old.encode(), new.encode(), "tolerance") is None) is same


def test_logs_are_the_same_records_and_close_on_average(tmp_path: Path) -> None:
    def log(scale: float, steps: int = 4, seconds: float = 1.0) -> bytes:
        records = [{"step": step, "loss": scale * (1 + step % 2), "seconds": seconds} for step in range(steps)]
        return "".join(json.dumps(record) + "\n" for record in records).encode()

    assert compared(tmp_path, "log.jsonl", log(1), log(1 + SPREAD / 2, seconds=9), "statistical") is None
    assert "loss: 1.5 on average" in compared(tmp_path, "log.jsonl", log(1), log(1 + 2 * SPREAD), "statistical")
    assert "4 records, again 3" in compared(tmp_path, "log.jsonl", log(1), log(1, steps=3), "statistical")
    without = log(1).replace(b'"loss"', b'"lost"')
    assert "4 records have it, again 0" in compared(tmp_path, "log.jsonl", log(1), without, "statistical")


def test_pictures_are_of_one_size(tmp_path: Path) -> None:
    head = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\x00\x00\x01\x00" * 2 + bytes(9)
    assert compared(tmp_path, "x.png", head + b"1", head + b"2", "tolerance") is None
    assert "another size" in compared(
        tmp_path, "x.png", head + b"1", head.replace(b"\x01", b"\x02") + b"2", "tolerance"
    )


CLIPPED = '<g clip-path="url(#p{0})"/><use xlink:href="#m{1}" x="{2}"/><path id="m{1}"/><clipPath id="p{0}"/>\n'
ONE, OTHER = "35d7aa3b31", "9991d9d6a7"


@pytest.mark.parametrize(
    ("new", "same"),
    [
        (CLIPPED.format(OTHER, ONE, 1.0), True),  # hashes of where they lie, to the last bit
        (CLIPPED.format(OTHER, ONE, 1.1), False),
        (CLIPPED.format(ONE, OTHER, 1.0).replace(f'href="#m{OTHER}', f'href="#p{ONE}'), False),
        (CLIPPED.format(ONE, "a", 1.0), False),
    ],
)
def test_ids_of_an_svg_are_taken_by_their_order(new: str, same: bool, tmp_path: Path) -> None:
    old = CLIPPED.format(ONE, OTHER, 1.0)
    assert (compared(tmp_path, "x.svg", old.encode(), new.encode(), "tolerance") is None) is same
    assert compared(tmp_path, "x.txt", old.encode(), CLIPPED.format(OTHER, ONE, 1.0).encode(), "tolerance") is not None
