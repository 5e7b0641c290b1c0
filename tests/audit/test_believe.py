"""What a plan begins with: marks on what is not finished or out of date, records for what nobody entered."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from attribution.errors import StudyError
from attribution.provenance import believe, receipt
from attribution.workflow import exclusive

HOME = Path("results/demo")
LDS = [HOME / "lds/a" / name for name in ("lds.json", "lds.safetensors", "receipt.json")]
SCORES = [HOME / "scores/full" / name / file for name in "ab" for file in ("scores.safetensors", "receipt.json")]
MODEL = [HOME / "models/full" / name for name in ("log.jsonl", "models.safetensors", "receipt.json")]


@pytest.fixture
def study(local: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study with Snakemake's records, which are those that are entered for it."""
    monkeypatch.chdir(local)
    monkeypatch.setattr(believe, "_now", lambda entry: (entry["code"]["hash"], "lock"))
    believe.believe(Path(), ["demo", "absent"])
    return local


@pytest.fixture
def kept(study: Path) -> FilePersistence:
    """How Snakemake reads the folder."""
    return FilePersistence(path=study / ".snakemake")


def marked(study: Path) -> set[Path]:
    """The files that are marked, by what Snakemake would look for."""
    kept = FilePersistence(path=study / ".snakemake")
    files = [str(path.relative_to(study)) for path in study.glob("results/**/*")]
    assert kept._get_external_jobids(files) == set()
    return set(map(Path, kept._filter_incomplete_keys(files)))


def test_a_finished_study_is_left_alone(study: Path) -> None:
    assert marked(study) == set()
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    believe.believe(Path(), ["demo"])
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_records_are_those_that_snakemake_would_write(study: Path, kept: FilePersistence) -> None:
    assert believe.VERSION == RECORD_FORMAT_VERSION
    outputs = [path for path in study.glob("results/demo/*/**/*") if path.is_file() and "logs" not in path.parts]
    for path in outputs:
        assert kept._read_record(str(path.relative_to(study))) is not None
    record = kept._read_record("results/demo/models/full/models.safetensors")
    entry = receipt.read(study / HOME / "models/full")
    assert record.rule == "train"
    assert record.input == [
        "results/demo/data/images/train.safetensors",
        "results/demo/design/full/subsets.safetensors",
    ]
    assert record.input_checksums == {item["path"]: f"sha256:{item['sha256']}" for item in entry["inputs"]}
    assert set(record.params) == {"'{\"steps\":10}'", repr(entry["code"]["hash"]), "'lock'"}
    assert record.endtime - record.starttime == pytest.approx(entry["run"]["seconds"])
    written = json.loads(Path(kept._record_path(study / believe.RECORDS, "results/demo/lds/a/lds.json")).read_text())
    assert written.keys() <= MetadataRecord.model_fields.keys()


@pytest.mark.parametrize("length", [1, 180, 190, 191, 400])
def test_places_are_those_of_snakemake(length: int, study: Path, kept: FilePersistence) -> None:
    name = "x" * length
    assert str(believe._place(study, believe.MARKS, study / name)) == kept._record_path(study / believe.MARKS, name)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text(path.read_text()[:-9])])
def test_outputs_without_a_receipt_are_marked_and_what_read_them(study: Path, damage: Callable[[Path], object]) -> None:
    damage(HOME / "models/full/receipt.json")
    (HOME / "models/full/.models.safetensors.x.part").write_bytes(b"")
    believe.believe(Path(), ["demo"])
    assert marked(study) == {path for path in MODEL if path.exists()} | set(SCORES)  # what reads those follows


def test_what_another_run_is_making_is_left_to_it(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (HOME / "models/full/receipt.json").unlink()
    monkeypatch.setattr(exclusive, "idle", lambda root, name: False)
    believe.believe(Path(), ["demo"])
    assert marked(study) == set()


def test_what_was_made_of_other_bytes_is_marked_whatever_the_times_are(study: Path, make_job) -> None:
    read = {"model": [str(HOME / "models/full/models.safetensors")]}
    make_job(Path(), "scores/full/a", "score", read, {"scores.safetensors": b"others"}, of="a")
    for path in (HOME / "scores/full/a").iterdir():
        os.utime(path, (1, 1))
    believe.believe(Path(), ["demo"])
    assert marked(study) == set(LDS)  # numbers will follow, in the plan
    believe.believe(Path(), ["demo"])
    assert marked(study) == set(LDS)


def test_the_same_bytes_made_again_mark_nothing(study: Path, make_job) -> None:
    make_job(Path(), "design/full", "design", {}, {"subsets.safetensors": b"all of them"}, seed=0, more=1)
    believe.believe(Path(), ["demo"])
    assert marked(study) == set()


def spoil(path: Path) -> None:
    """Other bytes, of the same size and with the old time."""
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_output_with_other_bytes_is_marked_and_what_is_gone_is_not(study: Path) -> None:
    (HOME / "models/full/models.safetensors").unlink()
    believe.believe(Path(), ["demo"])
    assert marked(study) == set()
    spoil(HOME / "models/full/log.jsonl")
    believe.believe(Path(), ["demo"])
    assert marked(study) == {path for path in MODEL if path.exists()}


def test_a_tracked_file_with_other_bytes_marks_what_read_it_however_old_it_is(study: Path) -> None:
    claims = Path("config/claims.yaml")
    claims.write_text("claims: [{}]\n")
    os.utime(claims, (1, 1))
    believe.believe(Path(), ["demo"])
    assert marked(study) == set((HOME / "summary/tables").iterdir())
    assert believe.doubts(Path(), "demo") == {
        "results/demo/summary/tables": "config/claims.yaml has other bytes than it read, or no receipt"
    }
    claims.write_text("claims: []\n")
    believe.believe(Path(), ["demo"])
    assert marked(study) == set()


def test_a_copy_is_marked_and_gets_no_record(study: Path) -> None:
    """Old: what has no inputs was entered, or had no record and was believed."""
    shutil.copytree(HOME, "results/copy")
    before = set((study / believe.RECORDS).rglob("*"))
    believe.believe(Path(), ["copy"])
    jobs = [path for path in Path("results/copy").rglob("*") if path.is_file() and "logs" not in path.parts]
    assert marked(study) == set(jobs)
    assert set((study / believe.RECORDS).rglob("*")) == before
    believe.believe(Path(), ["demo"])
    assert {path for path in marked(study) if path.is_relative_to(HOME)} == set()


@pytest.mark.parametrize("change", [lambda entry: entry.pop("seal"), lambda entry: entry["spec"].update(of="b")])
def test_a_receipt_that_was_edited_is_not_believed(change: Callable[[dict], object], study: Path) -> None:
    entry = json.loads(LDS[2].read_text())
    change(entry)
    LDS[2].write_text(json.dumps(entry))
    believe.believe(Path(), ["demo"])
    assert marked(study) == set(LDS) | set((HOME / "summary/numbers").iterdir()) | set(
        (HOME / "summary/figures").iterdir()
    )


@pytest.mark.parametrize("now", [None, ("other", "lock"), ("same", "other")])
def test_no_record_is_written_for_a_job_whose_code_is_other(now, study, kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Snakemake knows already it can compare; what it does not know runs again."""
    code = json.loads(LDS[2].read_text())["code"]["hash"]
    monkeypatch.setattr(believe, "_now", lambda entry: now and tuple(part.replace("same", code) for part in now))
    believe.believe(Path(), ["demo"])
    assert marked(study) == set()
    place = Path(kept._record_path(study / believe.RECORDS, str(LDS[0])))
    place.unlink()
    believe.believe(Path(), ["demo"])
    assert marked(study) == set(LDS)
    assert not place.exists()


def test_a_record_says_what_the_receipt_says(study: Path, kept: FilePersistence) -> None:
    """As Snakemake enters a job that failed with what it was planned with, and with what lies there then."""
    place = Path(kept._record_path(study / believe.RECORDS, str(LDS[0])))
    whole = json.loads(place.read_text())
    for key, other in (("params", ["'1'"]), ("input", []), ("input_checksums", {whole["input"][0]: "sha256:0"})):
        place.write_text(json.dumps(whole | {key: other}))
        believe.believe(Path(), ["demo"])
        assert json.loads(place.read_text())[key] == whole[key]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"params": ["\'of another job\'"]}'])
def test_a_job_that_finished_without_its_run_is_entered(content: str | None, study: Path, kept) -> None:
    place = Path(kept._record_path(study / believe.RECORDS, str(LDS[0])))
    whole = json.loads(place.read_text())
    place.unlink() if content is None else place.write_text(content)
    os.utime(LDS[2])  # it has just been written
    believe.believe(Path(), ["demo"])
    times = ("starttime", "endtime")
    found = json.loads(place.read_text())
    assert {key: found[key] for key in found if key not in times} == {
        key: whole[key] for key in whole if key not in times
    }
    assert marked(study) == set()
    assert not [path for path in place.parent.iterdir() if path.name.startswith("@")]


def test_files_of_the_future_get_the_present_time(study: Path) -> None:
    past, present, future = 1_000_000_000, time.time(), time.time() + 1e6
    os.utime(LDS[0], (past, past))
    os.utime(LDS[1], (future, future))
    believe.ready(Path(), ["demo", "absent"])
    assert LDS[0].stat().st_mtime == past
    assert present - 1 <= LDS[1].stat().st_mtime <= time.time()


@pytest.mark.parametrize(
    ("begin", "blocked", "message"),
    [
        (believe.believe, believe.MARKS, r"^\.snakemake/incomplete\S*: cannot be written \(\S.*\)$"),
        (believe.ready, Path("results/other"), r"^results/other: cannot be written \(File exists\)$"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(begin, blocked: Path, message: str, study: Path) -> None:
    (HOME / "models/full/receipt.json").unlink()
    blocked.write_text("")
    with pytest.raises(StudyError, match=message):
        begin(Path(), ["demo", "other"])


def test_a_read_only_study_is_one_line(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != HOME)
    with pytest.raises(StudyError, match=r"^results/demo: cannot be written \(read-only\)$"):
        believe.ready(Path(), ["demo"])
