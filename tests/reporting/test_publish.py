"""What is published: whole, checked against its receipts, and what README says of it."""

import hashlib
import json
from pathlib import Path

import pytest

from attribution.core.store import save_json
from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.provenance.page_marks import pages
from attribution.reporting.numbers import of_file
from attribution.reporting.publish import publish, published, tables
from attribution.reporting.readme import stale, update

ROOT = Path(__file__).parents[2]


def job(root: Path, folder: str, files: dict[str, str], step: str, read: tuple[str, ...] = ()) -> str:
    """A finished job's folder with its receipt; the receipt's id."""
    place = root / "results/demo" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
    code, used = (
        hashlib.sha256(b"{}").hexdigest(),
        [receipt.input_record("some", root / "results/demo" / path, root) for path in read],
    )
    written = {
        "format": receipt.FORMAT,
        "step": step,
        "id": receipt.identity(step, {}, code, "lock", used),
        "spec": {},
        "code": {"hash": code, "modules": {}},
        "inputs": used,
        "environment": {"lock": {"hash": "lock"}},
        "outputs": [receipt.output_record(place / name, "bitwise", root) for name in files],
        "run": {"commit": "abc", "dirty": False, "seconds": 2.0, "wall_seconds": 2.5},
    }
    receipt.write(place, written)
    return written["id"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    job(tmp_path, "gradients/full/train/loss/000_499", {"gradients.safetensors": "g"}, "gradients")
    gradients = "gradients/full/train/loss/000_499/gradients.safetensors"
    metric = {"kinds": {"heldout": {"lds": 0.5, "interval": [0.4, 0.6], "n": {"queries": 2}}}}
    origin = job(tmp_path, "lds/ekfac", {"lds.json": json.dumps(metric)}, "lds", (gradients,))
    entries = of_file(metric, "results/demo/lds/ekfac/lds.json", origin)
    numbers = json.dumps(entries, indent=2, sort_keys=True) + "\n"
    job(tmp_path, "summary/numbers", {"numbers.json": numbers}, "numbers", ("lds/ekfac/lds.json",))
    made = {"lds.md": "| |\n", "claims.md": "| Claim |\n| :-- |\n"}
    job(tmp_path, "summary/tables", made, "tables", ("summary/numbers/numbers.json",))
    job(tmp_path, "summary/figures", {"a.png": "x"}, "figures", ("lds/ekfac/lds.json",))
    job(
        tmp_path, "lds/left_behind", {"lds.json": "{}"}, "lds", (gradients,)
    )  # of a method that is no longer configured
    return tmp_path


def test_everything_is_copied_with_its_receipts(root: Path) -> None:
    assert publish(root, "demo") == []
    place = root / "results/published/demo"
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    folders = ("lds/ekfac", "summary/numbers", "summary/tables", "summary/figures", "gradients/full/train/loss/000_499")
    files = {"numbers.json", "walls.json", "SHA256SUMS", "tables/lds.md", "tables/claims.md", "figures/a.png"}
    files |= {"metrics/lds/ekfac/lds.json"}
    assert found == files | {f"receipts/{folder}/receipt.json" for folder in folders}
    numbers = published(root)
    assert numbers["demo/lds.ekfac.heldout"]["value"] == 0.5
    assert numbers["demo/cost.lds.seconds"]["value"] == 2.0
    assert numbers["demo/cost.overhead.share"]["value"] == pytest.approx(0.2)  # 10 s of work in 12.5 s of jobs


def test_a_broken_file_far_below_is_refused(root: Path) -> None:
    (root / "results/demo/gradients/full/train/loss/000_499/gradients.safetensors").write_text("h")
    with pytest.raises(StudyError, match=r"gradients\.safetensors: does not match its receipt .* 1 numbers below it"):
        publish(root, "demo")


def test_encoded_ensembles_are_published_where_a_study_has_them(root: Path) -> None:
    publish(root, "demo")
    assert not (root / "results/published/demo/ablation").exists()
    job(root, "summary/ablation", {"ablation.md": "| |\n", "radius.png": "x"}, "ablation_report")
    publish(root, "demo")
    found = {path.name for path in (root / "results/published/demo/ablation").iterdir()}
    assert found == {"ablation.md", "radius.png"}


def test_a_second_time_replaces_the_first(root: Path) -> None:
    publish(root, "demo")
    (root / "results/published/demo/old.txt").write_text("left over")
    publish(root, "demo")
    assert not (root / "results/published/demo/old.txt").exists()


def test_readme_takes_published_tables_and_benchmarks(root: Path) -> None:
    publish(root, "demo")
    place = root / "results/published/benchmarks/peers.csv"
    place.parent.mkdir()
    place.write_text("work,peer,ours_s,peer_s,ratio,ours_mb,peer_mb\nfactors,a peer,1.5,3,0.50,100,200\n")
    made = tables(root)
    assert made["demo/claims"] == "| Claim |\n| :-- |"
    assert made["peers"].splitlines()[2] == "| factors | a peer | 1.5 | 3 | 0.50 | 100 | 200 |"
    text = "".join(f"<!-- table:{name} -->\n<!-- /table -->\n" for name in ("demo/claims", "peers"))
    fresh = update(text, published(root), made)
    assert f"<!-- table:peers -->\n{made['peers']}\n<!-- /table -->" in fresh
    assert stale(fresh, published(root), made) == []
    assert len(stale(fresh, published(root), {})) == 2
    place.write_text("work,peer\nfactors,a peer\n")
    with pytest.raises(StudyError, match="ours_s is missing"):
        tables(root)


def test_an_edited_metric_is_refused_and_nothing_is_published(root: Path) -> None:
    (root / "results/demo/lds/ekfac/lds.json").write_text('{"a": 1}')
    with pytest.raises(StudyError, match=r"lds/ekfac/lds\.json: does not match its receipt .* 1 numbers below"):
        publish(root, "demo")
    assert not (root / "results/published").exists()


def test_a_number_of_another_job_is_refused(root: Path) -> None:
    path = root / "results/demo/summary/numbers/numbers.json"
    numbers = json.loads(path.read_text())
    numbers["lds.ekfac.heldout"]["receipt"] = "another"
    save_json(path, numbers)
    entry = json.loads((path.parent / receipt.NAME).read_text())
    entry["outputs"][0] |= {"sha256": receipt.sha256(path), "bytes": path.stat().st_size}
    receipt.write(path.parent, entry)
    job(root, "summary/tables", {"lds.md": "| |\n"}, "tables", ("summary/numbers/numbers.json",))
    (root / "results/demo/summary/tables/claims.md").unlink()
    with pytest.raises(StudyError, match=r"heldout: names the receipt another, but .*lds\.json was made by"):
        publish(root, "demo")


def test_an_unfinished_study_is_refused(root: Path) -> None:
    (root / "results/demo/summary/tables/receipt.json").unlink()
    with pytest.raises(StudyError, match="not finished"):
        publish(root, "demo")


def test_pages_say_what_is_published_and_readme_stays_short() -> None:
    numbers, made = published(ROOT), tables(ROOT)
    texts = {path.name: path.read_text() for path in pages(ROOT)}
    assert {name: stale(text, numbers, made) for name, text in texts.items()} == {name: [] for name in texts}
    assert len(texts["README.md"].splitlines()) < 200
    assert texts["README.md"].count("<!-- n:") >= 5  # its numbers are marked, so that this test can see them
    assert "<!-- table:claims -->" in texts["results.md"]
