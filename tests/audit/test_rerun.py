"""Jobs drawn and run again: what can be drawn, how it is compared, and what so many passes say."""

import json
import math
import random
import shutil
from itertools import combinations
from pathlib import Path

import pytest

from attribution.__main__ import main
from attribution.errors import StudyError
from attribution.provenance import receipt, rerun
from attribution.provenance.ledger import Ledger, load

FOLDERS = {"data/images", "design/full", "models/full", "scores/full/a", "scores/full/b", "lds/a", "lds/b"}
FOLDERS = {
    f"results/demo/{folder}" for folder in FOLDERS | {f"summary/{part}" for part in ("numbers", "tables", "figures")}
}


@pytest.fixture
def ledger(local: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The study, all of whose jobs could run again: its code and packages are those of this checkout."""
    found = load(local, "demo", published=False)
    code = found.receipts["results/demo/models/full"]["code"]["hash"]
    monkeypatch.setattr(rerun, "_code", lambda *_: code)
    monkeypatch.setattr(rerun, "lock_hash", lambda *_: "lock")
    return found


def copying(ledger: Ledger, **change: bytes) -> rerun.Runner:
    """Stands for the step: writes what the job wrote before, but for changed files by their stem."""

    def run(words: list[str], root: Path, environment: dict[str, str]) -> tuple[int, str]:
        out = Path(words[words.index("--out") + 1])
        folder = out.as_posix()[out.as_posix().index("results/demo") :]
        assert not out.is_relative_to(root / "results")
        shutil.copytree(root / folder, out)
        for stem, content in change.items():
            for path in out.glob(f"{stem}.*"):
                path.write_bytes(content)
        return 0, ""

    return run


def test_every_job_can_be_drawn_where_all_is_here(ledger: Ledger) -> None:
    able, unable = rerun.drawable(ledger)
    assert set(able) == FOLDERS
    assert unable == {}


def test_what_cannot_be_drawn_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    (ledger.root / "results/demo/design/full/subsets.safetensors").unlink()
    path = ledger.root / "results/demo/lds/b/lds.json"
    path.write_bytes(path.read_bytes() + b" ")
    able, unable = rerun.drawable(ledger)
    gone = {"design/full", "models/full", "lds/b", "summary/numbers", "summary/figures"}
    assert set(unable) == {f"results/demo/{folder}" for folder in gone}
    assert set(unable.values()) == {"its inputs or outputs are absent, or not as its receipt says"}
    monkeypatch.setattr(rerun, "lock_hash", lambda *_: "another")
    assert set(rerun.drawable(ledger)[1].values()) == {"other packages are pinned now"}
    monkeypatch.setattr(rerun, "_code", lambda *_: None)
    able, unable = rerun.drawable(ledger)
    assert able == []
    assert set(unable.values()) == {"its code has changed since"}
    with pytest.raises(StudyError, match="no job can run again here"):
        rerun.draw(able, 1, 0)


def test_the_draw_is_that_of_its_seed_and_without_replacement() -> None:
    folders = [f"f{at}" for at in range(20)]
    drawn = rerun.draw(folders, 8, seed=3)
    assert drawn == rerun.draw(folders, 8, seed=3) != rerun.draw(folders, 8, seed=4)
    assert len(set(drawn)) == 8
    assert sorted(rerun.draw(folders, 50, seed=0)) == sorted(folders)


def test_the_command_is_that_of_the_rule(ledger: Ledger) -> None:
    entry = ledger.receipts["results/demo/models/full"]
    words = rerun.command(entry, Path("/scratch/x"))
    assert words[1:5] == ["-m", "attribution.steps.train", "--out", "/scratch/x"]
    assert words[5:] == [
        *("--data", "results/demo/data/images/train.safetensors"),
        *("--subsets", "results/demo/design/full/subsets.safetensors"),
        *("--spec", '{"steps":10}'),
        *("--code", entry["code"]["hash"]),
        *("--lock", "lock"),
    ]
    numbers = rerun.command(ledger.receipts["results/demo/summary/numbers"], Path("x"))
    at = numbers.index("--lds")
    assert numbers[at + 1 : at + 3] == [f"results/demo/lds/{method}/lds.json" for method in "ab"]  # in their order


def test_the_same_bytes_pass_and_results_are_left_alone(ledger: Ledger) -> None:
    before = {path: path.read_bytes() for path in ledger.root.rglob("*") if path.is_file()}
    found = list(rerun.rerun(ledger, sorted(FOLDERS), copying(ledger)))
    assert all(one.problem is None and one.exact for one in found)
    assert {path: path.read_bytes() for path in ledger.root.rglob("*") if path.is_file()} == before


def test_what_differs_is_judged_by_its_class(ledger: Ledger) -> None:
    close = (ledger.root / "results/demo/lds/a/lds.json").read_bytes().replace(b"0.71", b"0.7100001")
    (one,) = rerun.rerun(ledger, ["results/demo/lds/a"], copying(ledger, lds=close))
    assert "lds.safetensors (tolerance): cannot be read" in one.problem  # the same text was written to it
    metric = ledger.receipts["results/demo/summary/numbers"]
    assert metric["outputs"][0]["class"] == "tolerance"
    close = (ledger.root / "results/demo/summary/numbers/numbers.json").read_bytes().replace(b": 0.71", b": 0.7100001")
    (one,) = rerun.rerun(ledger, ["results/demo/summary/numbers"], copying(ledger, numbers=close))
    assert (one.problem, one.exact) == (None, False)
    far = close.replace(b"0.7100001", b"0.75")
    (one,) = rerun.rerun(ledger, ["results/demo/summary/numbers"], copying(ledger, numbers=far))
    assert "numbers.json (tolerance): line" in one.problem


def test_a_job_that_fails_is_a_problem(ledger: Ledger) -> None:
    (one,) = rerun.rerun(ledger, ["results/demo/lds/a"], lambda *_: (1, "attribution.steps.lds: no"))
    assert one.problem == "exit status 1: attribution.steps.lds: no"


def test_another_identity_is_a_problem(ledger: Ledger) -> None:
    def run(words: list[str], root: Path, environment: dict[str, str]) -> tuple[int, str]:
        copying(ledger)(words, root, environment)
        out = Path(words[words.index("--out") + 1])
        receipt.write(out, json.loads((out / receipt.NAME).read_text()) | {"id": "0" * 64})
        return 0, ""

    (one,) = rerun.rerun(ledger, ["results/demo/lds/a"], run)
    assert "its receipt has another id" in one.problem


@pytest.mark.parametrize(("population", "passed"), [(1, 1), (5, 1), (5, 2), (6, 3), (7, 7), (8, 4)])
def test_the_bound_is_that_of_counting_all_draws(population: int, passed: int) -> None:
    """Brute force: of all draws, the share without any of the d bad jobs."""

    def share(bad: int) -> float:
        draws = list(combinations(range(population), passed))
        return sum(min(draw) >= bad for draw in draws) / len(draws)

    most = rerun.bound(population, passed)
    assert share(most) > rerun.DOUBT
    assert all(share(bad) <= rerun.DOUBT for bad in range(most + 1, population + 1))


def test_the_bound_covers() -> None:
    """If more than the bound fail, all pass in less than 1 draw of 20."""
    population, passed, rng = 60, 10, random.Random(0)
    bad = rerun.bound(population, passed) + 1
    survived = sum(min(rng.sample(range(population), passed)) >= bad for _ in range(4000)) / 4000
    assert survived == pytest.approx(math.comb(population - bad, passed) / math.comb(population, passed), abs=0.01)
    assert survived < 0.06


@pytest.mark.parametrize("arguments", [["--rerun", "0"], ["results/demo", "--rerun", "1"]])
def test_what_cannot_be_asked_is_one_line(arguments: list[str], local: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(local)
    assert main(["audit", *arguments]) == 1
    assert "needs a study" in capsys.readouterr().err


def test_the_command_says_what_passed(ledger: Ledger, monkeypatch, capsys) -> None:
    monkeypatch.chdir(ledger.root)
    monkeypatch.setattr(rerun, "execute", copying(ledger))
    assert main(["audit", "demo", "--rerun", "3", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "demo: 3 of 10 jobs run again (seed 1)"
    assert lines[-1].strip() == (
        f"all passed: with 95 % confidence at most {rerun.bound(10, 3)} of these 10 jobs would not reproduce"
    )
    monkeypatch.setattr(rerun, "execute", lambda *_: (1, "no"))
    assert main(["audit", "demo", "--rerun", "3", "--seed", "1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert not said["ok"]
    assert said["at_most_failing"] is None
    assert len(said["jobs"]) == 3
