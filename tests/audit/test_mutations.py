"""One change to one file, anywhere: the audit names the file and every number below it, and none passes.

What must be named is written out here, not taken from the audit's own graph.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attribution.provenance import receipt, sums
from attribution.provenance.audit import audit

PAIR = "lds_difference.a_b.heldout"
ONE = ("lds.{}", "lds.{}_default", "damping.{}", "damping.{}_default", "lds_tuning.{}", "lds_tuning.{}_least")
A, B = ({PAIR, *(f"{key}.heldout".format(method) for key in ONE)} for method in "ab")
BOTH = A | B
BELOW = {  # job -> the numbers that are made of its files
    "data/images": BOTH,
    "design/full": BOTH,
    "models/full": BOTH,
    "scores/full/a": A,
    "scores/full/b": B,
    "lds/a": A,
    "lds/b": B,
    "summary/numbers": BOTH,
    "summary/tables": set(),
    "summary/figures": set(),
}
FILES = [
    "data/images/train.safetensors",
    "design/full/subsets.safetensors",
    "models/full/models.safetensors",
    "models/full/log.jsonl",
    *(f"scores/full/{method}/scores.safetensors" for method in "ab"),
    *(f"lds/{method}/lds.{ending}" for method in "ab" for ending in ("json", "safetensors")),
    "summary/numbers/numbers.json",
    "summary/numbers/derived.json",
    "summary/tables/lds.md",
    "summary/tables/lds.csv",
    "summary/figures/lds.png",
    "summary/figures/lds.svg",
]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def delete(path: Path) -> None:
    path.unlink()


def named(root: Path, published: bool) -> dict[str, set[str]]:
    """What an audit finds broken: file -> the numbers below it, costs apart."""
    found: dict[str, set[str]] = {}
    for fault, numbers in audit(root, "demo", published).spoiled():
        own = {key for key in numbers if not key.startswith("cost.")}
        found.setdefault(fault.where.split(": ")[0], set()).update(own)
    return found


@pytest.mark.parametrize("change", [flip, truncate, lengthen])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("published", [False, True])
def test_a_changed_artifact(name: str, change: Callable[[Path], None], published: bool, here: Path) -> None:
    """In results/, of a study that is published and of one that is not; re-hashed, it is not what its receipt says."""
    change(here / "results/demo" / name)
    if name.endswith("numbers.json") and not published:
        assert named(here, published) != {}  # the numbers that were hit are named, or it is no JSON any more
        return
    assert named(here, published) == {f"results/demo/{name}": BELOW[name.rpartition("/")[0]]}


@pytest.mark.parametrize("change", [flip, truncate, lengthen, delete])
def test_every_published_file(change: Callable[[Path], None], clone: Path) -> None:
    """Each in turn, in a plain clone: receipts, metric files, tables, figures, numbers, and the list of sums."""
    place = clone / "results/published/demo"
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    assert len(paths) == 10 + 3 + 4 + 3  # receipts, metrics, tables and figures, numbers with walls and sums
    for path in paths:
        whole = path.read_bytes()
        change(path)
        found = named(clone, True)
        shown = path.relative_to(clone).as_posix()
        assert shown in found or (path.name == "SHA256SUMS" and found), path  # of a line there, the file it names
        words = path.relative_to(place).parts
        if words[0] in ("receipts", "metrics"):
            assert found[shown] >= BELOW["/".join(words[1:-1])], path
        path.write_bytes(whole)
    assert named(clone, True) == {}


def test_an_added_published_file(clone: Path) -> None:
    (clone / "results/published/demo/tables/better.md").write_text("| A | 0.99 |\n")
    assert set(named(clone, True)) == {"results/published/demo/tables/better.md"}


@pytest.mark.parametrize("published", [False, True])
def test_a_deleted_receipt(published: bool, here: Path) -> None:
    """Where the files of the job are still there, also for a study that is published."""
    for folder in BELOW:
        path = here / "results/demo" / folder / receipt.NAME
        whole = path.read_bytes()
        path.unlink()
        found = named(here, published)
        assert set(found) == {f"results/demo/{folder}/receipt.json"}
        assert found[f"results/demo/{folder}/receipt.json"] == BELOW[folder]
        path.write_bytes(whole)
    assert named(here, published) == {}


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield path
    else:
        for key, item in items:
            yield from leaves(item, (*path, key))


def changed(value: Any, path: tuple) -> Any:
    """The value with another leaf at the path."""
    if not path:
        return {bool: lambda: not value, str: lambda: f"{value}0", list: lambda: ["x"], dict: lambda: {"x": 1}}.get(
            type(value), lambda: (value or 0) + 1
        )()
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:])
    return copy


@pytest.mark.parametrize("folder", BELOW)
def test_every_edit_of_a_receipt(folder: str, local: Path) -> None:
    """Each value in it, one after the other, the times and hosts included, which no id holds."""
    path = local / "results/demo" / folder / receipt.NAME
    entry = json.loads(path.read_text())
    paths = list(leaves(entry))
    assert len(paths) >= 15
    for leaf in paths:
        path.write_text(json.dumps(changed(entry, leaf), indent=2, sort_keys=True) + "\n")
        found = named(local, False)
        assert found, leaf
        spoiled = set().union(*found.values())
        assert spoiled >= BELOW[folder], leaf
        assert any(folder in where for where in found), leaf


def forge(path: Path, change: Callable[[dict], None]) -> None:
    """Edit a receipt and seal it again."""
    entry = json.loads(path.read_text())
    change(entry)
    receipt.write(path.parent, entry)


@pytest.mark.parametrize("folder", [folder for folder in BELOW if BELOW[folder]])
def test_a_forged_output_is_betrayed_by_who_read_it(folder: str, local: Path) -> None:
    """A file exchanged, and its receipt edited to fit and sealed again."""
    place = local / "results/demo" / folder
    entry = json.loads((place / receipt.NAME).read_text())
    path = local / entry["outputs"][0]["path"]
    flip(path)

    def fit(entry: dict) -> None:
        entry["outputs"][0]["sha256"] = receipt.sha256(path)

    forge(place / receipt.NAME, fit)
    found = named(local, False)
    assert found[entry["outputs"][0]["path"]] >= (BELOW[folder] if folder != "summary/numbers" else set())


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["spec"].update(seed=1),
        lambda entry: entry["code"].update(hash="0" * 64),
        lambda entry: entry["code"]["modules"].update({"attribution.more": "1"}),
        lambda entry: entry["environment"]["lock"].update(hash="another"),
        lambda entry: entry.update(step="another"),
        lambda entry: entry.update(id="0" * 64),
        lambda entry: entry["inputs"].pop(),
        lambda entry: entry["inputs"][0].update(name="another"),
    ],
)
def test_a_forged_cause_is_betrayed_by_the_id(change: Callable[[dict], Any], local: Path) -> None:
    forge(local / "results/demo/models/full" / receipt.NAME, change)
    assert named(local, False)["results/demo/models/full/receipt.json"] == BOTH


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("scores/full/a/scores.safetensors", "scores/full/b/scores.safetensors"),
        ("lds/a/lds.json", "lds/b/lds.json"),
        ("models/full/models.safetensors", "design/full/subsets.safetensors"),
        ("summary/figures/lds.png", "summary/figures/lds.svg"),
    ],
)
@pytest.mark.parametrize("published", [False, True])
def test_two_files_exchanged(one: str, other: str, published: bool, here: Path) -> None:
    home = here / "results/demo"
    exchange(home / one, home / other)
    found = named(here, published)
    assert set(found) == {f"results/demo/{one}", f"results/demo/{other}"}
    assert found[f"results/demo/{one}"] == BELOW[one.rpartition("/")[0]]
    assert found[f"results/demo/{other}"] == BELOW[other.rpartition("/")[0]]


@pytest.mark.parametrize("place", ["receipts", "metrics"])
def test_two_published_files_exchanged(place: str, clone: Path) -> None:
    folder = clone / "results/published/demo" / place / "lds"
    (one,), (other,) = (list((folder / method).iterdir()) for method in "ab")
    exchange(one, other)
    found = named(clone, True)
    for path, numbers in ((one, A), (other, B)):
        assert found[path.relative_to(clone).as_posix()] >= numbers


def exchange(one: Path, other: Path) -> None:
    kept = one.with_name("kept")
    shutil.move(one, kept)
    shutil.move(other, one)
    shutil.move(kept, other)


@pytest.mark.parametrize("field", ["value", "interval", "source", "receipt", "n", "unit"])
@pytest.mark.parametrize("key", sorted(BOTH))
def test_an_edited_number(key: str, field: str, clone: Path) -> None:
    """Its metric file tells which value it is; what no metric file holds, as n, betrays the file as a whole."""
    path = clone / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    leaf = {"interval": (0,), "n": ("queries",)}.get(field, ()) if numbers[key][field] else ()
    numbers[key] = changed(numbers[key], (field, *leaf))
    path.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    spoiled = named(clone, True)["results/published/demo/numbers.json"]
    assert key in spoiled
    if field == "value" and key not in ("lds.a.heldout", "lds.b.heldout"):  # on these two a difference hangs
        assert spoiled == {key}


def test_two_numbers_exchanged(clone: Path) -> None:
    path = clone / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    numbers["lds.a.heldout"], numbers["damping.a.heldout"] = numbers["damping.a.heldout"], numbers["lds.a.heldout"]
    path.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    assert named(clone, True)["results/published/demo/numbers.json"] >= {"lds.a.heldout", "damping.a.heldout"}


def test_an_edited_cost(clone: Path) -> None:
    path = clone / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    numbers["cost.score.seconds"]["value"] = 1.0
    path.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    said = [fault for fault in audit(clone, "demo", True).faults if fault.numbers == ("cost.score.seconds",)]
    assert "the receipts of score sum to 4 s of 2 jobs" in said[0].what


def test_a_forged_number_is_betrayed_by_the_tables(clone: Path) -> None:
    """The number, its receipt, its seal and the sums all made to fit; the tables were made of other bytes."""
    place = clone / "results/published/demo"
    numbers = json.loads((place / "numbers.json").read_text())
    numbers["lds.a.heldout"]["value"] = 0.99
    (place / "numbers.json").write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    own = {key: entry for key, entry in numbers.items() if not key.startswith("cost.")}
    digest = receipt.hashlib.sha256((json.dumps(own, indent=2, sort_keys=True) + "\n").encode()).hexdigest()
    forge(place / "receipts/summary/numbers" / receipt.NAME, lambda entry: entry["outputs"][0].update(sha256=digest))
    sums.write(place)
    assert "results/demo/summary/numbers/numbers.json" in named(clone, True)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("-->0.71 [", "-->0.72 [", "README.md:1"),
        ("0.60, 0.80]", "0.60, 0.81]", "README.md:1"),
        ("n:demo/lds.a.heldout", "n:demo/lds.b.heldout", "README.md:1"),
        ("n:demo/lds.a.heldout", "n:demo/lds.c.heldout", "README.md:1"),
        ("| A | 0.71 |", "| A | 0.77 |", "README.md:2"),
    ],
)
def test_a_stale_number_in_readme(old: str, new: str, where: str, clone: Path) -> None:
    path = clone / "README.md"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert set(named(clone, True)) == {where}
