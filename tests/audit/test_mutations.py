"""One change to one file, anywhere: the audit names the file and every number below it, and none passes.

What must be named is written out here, not taken from the audit's own graph.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attribution.__main__ import main
from attribution.provenance import chain, page_marks, receipt, sums, values
from attribution.provenance.audit import audit

PAIR = "lds_difference.a_b.heldout"
ONE = ("lds.{}", "lds.{}_default", "damping.{}", "damping.{}_default", "lds_tuning.{}", "lds_tuning.{}_least")
A, B = ({PAIR, *(f"{key}.heldout".format(method) for key in ONE)} for method in "ab")
BOTH = A | B
DERIVED = "summary/numbers/derived.json"
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


def edit(root: Path, change: Callable[[dict], Any]) -> set[str]:
    """Change the published numbers; the numbers that are named then, by the faults of numbers or of their file."""
    path = root / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    change(numbers)
    path.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    return named(root, True).get("results/published/demo/numbers.json", set())


def field_changed(key: str, field: str) -> Callable[[dict], None]:
    def change(numbers: dict) -> None:
        leaf = {"interval": (0,), "n": ("queries",)}.get(field, ()) if numbers[key][field] else ()
        numbers[key] = changed(numbers[key], (field, *leaf))

    return change


@pytest.mark.parametrize("field", ["value", "interval", "source", "receipt", "n", "unit", "at"])
@pytest.mark.parametrize("key", sorted(BOTH))
def test_an_edited_number(key: str, field: str, clone: Path) -> None:
    """It alone is named: its file of numbers is otherwise what its job wrote."""
    assert edit(clone, field_changed(key, field)) == {key}
    first = audit(clone, "demo", True).faults[0]
    assert first.where == f"results/published/demo/numbers.json: {key}"
    assert {"receipt": "names the receipt", "source": "its source is"}.get(field, f"its {field} is ") in first.what


@pytest.mark.parametrize("field", ["value", "interval", "source", "receipt", "n", "unit"])
def test_an_edited_number_of_a_study_without_pointers(field: str, older: Path) -> None:
    """Their places follow from their ids; no file holds the interval of a difference, so all of those are in doubt."""
    computed = {key for key in BOTH if "difference" in key or "tuning" in key}
    whole = (older / "results/published/demo/numbers.json").read_text()
    for key in sorted(BOTH):
        found = edit(older, field_changed(key, field))
        assert found == (computed if field == "interval" and key in computed else {key}), key
        (older / "results/published/demo/numbers.json").write_text(whole)
    assert named(older, True) == {}


def test_every_number_of_a_study_without_pointers_is_placed(older: Path) -> None:
    found = audit(older, "demo", True)
    assert found.faults == []
    assert found.places.keys() == found.ledger.numbers.keys() > BOTH
    assert found.places[PAIR] == "/kinds/heldout/lds less results/demo/lds/b/lds.json: /kinds/heldout/lds"
    assert found.places["lds_tuning.b_least.heldout"] == "/kinds/heldout/lds less /kinds/heldout/least/lds"


@pytest.mark.parametrize("form", ["clone", "older"])
def test_a_number_removed_added_or_with_more_in_it(form: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(form)
    whole = (root / "results/published/demo/numbers.json").read_text()
    for change, key in (
        (lambda numbers: numbers.pop("lds.a.heldout"), "lds.a.heldout"),
        (lambda numbers: numbers.update({"lds.c.heldout": numbers["lds.a.heldout"]}), "lds.c.heldout"),
        (lambda numbers: numbers.update({"lds_difference.b_a.heldout": numbers[PAIR]}), "lds_difference.b_a.heldout"),
        (lambda numbers: numbers["lds.a.heldout"].update(better=1), "lds.a.heldout"),
        (lambda numbers: numbers["lds.a.heldout"].pop("n"), "lds.a.heldout"),
    ):
        assert key in edit(root, change), key
        (root / "results/published/demo/numbers.json").write_text(whole)


def test_two_numbers_exchanged(clone: Path) -> None:
    def exchanged(numbers: dict) -> None:
        one, other = "lds.a.heldout", "damping.a.heldout"
        numbers[one], numbers[other] = numbers[other], numbers[one]

    assert edit(clone, exchanged) == {"lds.a.heldout", "damping.a.heldout"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"value": 1.0}, "the receipts of score sum to 4 s of 2 jobs"),
        ({"n": {"jobs": 3}}, "the receipts of score sum to 4 s of 2 jobs"),
        ({"unit": "h"}, 'its unit is "h", but "s"'),
        ({"interval": [3.0, 5.0]}, "its interval is [3.0, 5.0], but null"),
        ({"at": "/run/peak_mb"}, 'its at is "/run/peak_mb", but "/run/seconds"'),
        ({"source": "results/demo/lds/a/lds.json"}, "its source is"),
        ({"receipt": "0" * 64}, "its receipt is"),
    ],
)
def test_an_edited_cost(change: dict, what: str, clone: Path) -> None:
    edit(clone, lambda numbers: numbers["cost.score.seconds"].update(change))
    (fault,) = audit(clone, "demo", True).faults
    assert fault.numbers == ("cost.score.seconds",)
    assert what in fault.what


def fitted(root: Path, renewed: dict[str, bytes]) -> None:
    """Published files of the job of numbers exchanged, and every receipt and sum made to fit: all but other metrics."""
    place, digests = root / "results/published/demo", {}
    for name, content in renewed.items():
        (place / ("numbers.json" if name == "numbers.json" else f"metrics/summary/numbers/{name}")).write_bytes(content)
        own = json.loads(content)
        own = {key: entry for key, entry in own.items() if not key.startswith("cost.")}
        text = json.dumps(own, indent=2, sort_keys=True) + "\n"
        digests[f"results/demo/summary/numbers/{name}"] = receipt.hashlib.sha256(text.encode()).hexdigest()

    def fit(entry: dict) -> None:
        for item in (*entry["inputs"], *entry["outputs"]):
            item["sha256"] = digests.get(item["path"], item["sha256"])
        code, lock = entry["code"]["hash"], entry["environment"]["lock"]["hash"]
        entry["id"] = receipt.identity(entry["step"], entry["spec"], code, lock, entry["inputs"])

    for folder in ("numbers", "tables", "figures"):
        forge(place / "receipts/summary" / folder / receipt.NAME, fit)
    sums.write(place)


def test_a_forged_number_is_betrayed_by_its_metric_file(clone: Path) -> None:
    """Receipts of the number and of the tables, seals and sums made to fit: what was measured says another value."""
    path = clone / "results/published/demo/numbers.json"
    numbers = json.loads(path.read_text())
    numbers["lds.b.heldout"]["value"] = 0.99
    fitted(clone, {"numbers.json": json.dumps(numbers, indent=2, sort_keys=True).encode() + b"\n"})
    fault = audit(clone, "demo", True).faults[0]
    assert fault.numbers == ("lds.b.heldout",)
    assert fault.where == "results/published/demo/numbers.json: lds.b.heldout"
    assert fault.what == "its value is 0.99, but 0.4 in results/demo/lds/b/lds.json, /kinds/heldout/lds"


def test_a_forged_difference_is_betrayed_by_the_scores(clone: Path) -> None:
    """The number, the file that it was computed into, and all receipts made to fit; the scores stand."""
    place = clone / "results/published/demo"
    numbers, derived = (json.loads((place / name).read_text()) for name in ("numbers.json", f"metrics/{DERIVED}"))
    numbers[PAIR]["value"] = derived["lds_difference"]["a_b"]["loss"]["heldout"]["value"] = 0.9
    files = {"numbers.json": numbers, "derived.json": derived}
    fitted(clone, {name: json.dumps(of, indent=2, sort_keys=True).encode() + b"\n" for name, of in files.items()})
    fault = audit(clone, "demo", True).faults[0]
    assert fault.numbers == (PAIR,)
    assert fault.what.startswith("is 0.9, but /kinds/heldout/lds less results/demo/lds/b/lds.json")


def test_a_metric_file_that_is_not_published(clone: Path) -> None:
    """With the list of sums made to fit: its numbers have nothing to agree with."""
    (clone / "results/published/demo/metrics/lds/a/lds.json").unlink()
    sums.write(clone / "results/published/demo")
    assert named(clone, True)["results/published/demo/metrics/lds/a/lds.json"] == A


def test_the_receipt_of_another_study_is_one_line(clone: Path, monkeypatch, capsys) -> None:
    path = clone / "results/published/demo/receipts/lds/a" / receipt.NAME
    path.write_text(path.read_text().replace("results/demo/", "results/other/"))
    monkeypatch.chdir(clone)
    assert main(["audit", "demo"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "published/demo/receipts/lds/a/receipt.json: unreadable or damaged (of another job: " in line
    assert named(clone, True)["results/published/demo/receipts/lds/a/receipt.json"] == A


def test_a_broken_audit_follows_each_chain_once(clone: Path, monkeypatch) -> None:
    """However many numbers hang on it: an audit of 5,000 must not take 25 times as long as soon as a link is broken."""
    followed = []
    monkeypatch.setattr(values, "above", lambda ledger, start: followed.append(start) or chain.above(ledger, start))
    flip(clone / "results/published/demo/metrics/lds/a/lds.json")
    assert named(clone, True)["results/published/demo/metrics/lds/a/lds.json"] == A
    assert sorted(followed, key=str) == [{"results/demo/lds/a"}, {"results/demo/lds/b"}]


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("-->0.71 [", "-->0.72 [", 1, "says '0.72 [0.60, 0.80]', published is 0.71"),
        ("0.60, 0.80]", "0.60, 0.81]", 1, "says '0.71 [0.60, 0.81]'"),
        ("n:demo/lds.a.heldout", "n:demo/lds.b.heldout", 1, "published is 0.4"),
        ("n:demo/lds.a.heldout", "n:demo/lds.c.heldout", 1, "lds.c.heldout is not among the published numbers"),
        ("n:demo/lds.a.heldout", "n:dem/lds.a.heldout", 1, "is of no study that is published"),
        ("n:demo/lds.a.heldout", "n:lds.a.heldout", 1, "is of no study that is published"),
        ("heldout -->", "heldout-->", 1, "'<!-- n:demo/lds.a.heldout-->' is no mark"),
        ("<!-- n:demo", "<!-- m:demo", 1, "'<!-- m:demo/lds.a.heldout -->' is no mark"),
        ("<!-- n:demo", "<!--n:demo", 1, "'<!--n:demo/lds.a.heldout -->' is no mark"),
        ("<!-- /n -->", "", 1, "is no mark, or its other end is missing"),
        ("<!-- n:demo/lds.a.heldout -->", "", 1, "'<!-- /n -->' is no mark"),
        ("<!-- /table -->", "<!-- /tabel -->", 2, "'<!-- table:demo/lds -->' is no mark"),
        ("table:demo/lds", "table:demo/lsd", 2, "no table lsd of demo is published"),
        ("table:demo/lds", "table:other/lds", 2, "is of no study that is published"),
        ("| A | 0.71 |", "| A | 0.77 |", 2, "its table lds says '0.77' in the row 'A'"),
        ("| A | 0.71 |", "| A | 0.71 | 1 |", 2, "its table lds"),
        ("| Held-out |", "| Training |", 2, "its table lds says 'Training'"),
        ("| A | 0.71 |\n| B | 0.40 |", "| B | 0.71 |\n| A | 0.40 |", 2, "says 'B' in the row 'B', "),
        ("| A | 0.71 |\n", "", 2, "its table lds says 'B'"),
        ("| B | 0.40 |\n", "", 2, "its table lds has more or fewer rows"),
        ("| B | 0.40 |\n", "| B | 0.40 |\n| C | 0.99 |\n", 2, "its table lds has more or fewer rows"),
        ("wins.", "does not win.", 8, "its table claims says 'A does not win.'"),
        ("fits well", "fits ill", 13, "its table joint says 'fits ill'"),
    ],
)
def test_a_page_that_says_something_else(old: str, new: str, where: int, what: str, clone: Path) -> None:
    """A mark that is misspelt guards nothing, so it is a fault too; `joint` stands for tables that are made anew."""
    made = {"joint": "| How |\n| :-- |\n| fits well |"}
    path, claims = clone / "README.md", clone / "results/published/demo/tables/claims.md"
    claims.write_text("| Claim |\n| :-- |\n| A wins. |\n")
    pages = f"<!-- table:demo/claims -->\n{claims.read_text()}<!-- /table -->\n"
    text = f"{path.read_text()}{pages}<!-- table:demo/joint -->\n{made['joint']}\n<!-- /table -->\n<!-- a comment -->\n"
    path.write_text(text)
    numbers = json.loads((clone / "results/published/demo/numbers.json").read_text())

    def check() -> list[tuple]:
        return page_marks.check(clone, "demo", numbers, lambda _root, name, _numbers: made.get(name))

    assert check() == []
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = check()
    assert found[0][0] == f"README.md:{where}"
    assert what in found[0][1]


def test_a_page_is_part_of_the_audit(clone: Path) -> None:
    path = clone / "README.md"
    path.write_text(path.read_text().replace("| A | 0.71 |", "| A | 0.77 |"))
    assert named(clone, True) == {"README.md:2": set()}
