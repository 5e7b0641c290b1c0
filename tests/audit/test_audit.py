"""The audit of a study that nobody touched, of one that is half there, and of one that went on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.__main__ import main
from attribution.errors import StudyError
from attribution.provenance import chain, since, tree
from attribution.provenance.audit import audit, text
from attribution.provenance.ledger import load, published_studies
from attribution.workflow.dvc import locked_md5
from attribution.workflow.fingerprint import file_hash

ROOT = Path(__file__).parents[2]
SCORES = {
    "lds.{}.heldout": "/kinds/heldout/lds",
    "lds.{}_default.heldout": "/kinds/heldout/default/lds",
    "damping.{}.heldout": "/kinds/heldout/selected_damping",
    "damping.{}_default.heldout": "/kinds/heldout/default/damping",
    "lds_tuning.{}.heldout": "/lds_tuning/{}/default/heldout/value",
    "lds_tuning.{}_least.heldout": "/lds_tuning/{}/least/heldout/value",
}
PLACES = {key.format(method): at.format(method) for method in "ab" for key, at in SCORES.items()}
PLACES["lds_difference.a_b.heldout"] = "/lds_difference/a_b/loss/heldout/value"
NUMBERS = set(PLACES)


def test_an_untouched_study_has_no_fault(here: Path) -> None:
    found = audit(here, "demo", published=True)
    assert found.faults == found.notes == []
    assert set(found.ledger.numbers) > NUMBERS
    assert {key: at for key, at in found.places.items() if not key.startswith("cost.")} == PLACES
    assert set(found.states.values()) == {"same"}
    assert found.level == "chain and local files"
    assert audit(here, "demo", published=False).faults == []


def test_a_plain_clone_is_audited_by_what_git_holds(clone: Path) -> None:
    found = audit(clone, "demo", published=True)
    assert found.faults == []
    assert {key: at for key, at in found.places.items() if not key.startswith("cost.")} == PLACES
    assert found.level == "chain only"
    absent = {Path(path).name for path, state in found.states.items() if state == "absent"}
    assert absent == {name + ".safetensors" for name in ("train", "subsets", "models", "scores", "lds")} | {
        "log.jsonl",
        "numbers.json",  # held by results/published/demo/numbers.json, which has the costs too
    }
    assert "data/digits.safetensors: absent here" in text(found)


def test_what_is_absent_is_no_fault(local: Path) -> None:
    """Intermediate files may be deleted to save space."""
    for name in ("scores.safetensors", "models.safetensors"):
        for path in local.rglob(name):
            path.unlink()
    found = audit(local, "demo", published=False)
    assert found.faults == []
    assert sum(state == "absent" for state in found.states.values()) == 3


def test_a_number_is_followed_to_the_data_set(clone: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(clone)
    assert main(["audit", "demo/lds.b.heldout"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lds.b.heldout = 0.4 [0.29, 0.49] correlation over 3 queries"
    assert lines[2] == "comes from results/demo/lds/b/lds.json: /kinds/heldout/lds"
    assert "attribution.receipt` = '" in lines[3]
    assert [line.split("  (")[0] for line in lines[4:-1]] == [
        "results/demo/lds/b/lds.json",
        "  scores: results/demo/scores/full/b/scores.safetensors",
        "    model: results/demo/models/full/models.safetensors",
        "      data: results/demo/data/images/train.safetensors",
        "        data set: data/digits.safetensors",
        "      subsets: results/demo/design/full/subsets.safetensors",
    ]
    assert lines[-1] == "level: chain only; 6 files of the chain are absent here"


def test_a_difference_is_followed_to_both_methods(clone: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(clone)
    assert main(["audit", "demo/lds_difference.a_b.heldout"]) == 0
    said = capsys.readouterr().out
    assert "results/demo/scores/full/a/" in said
    assert "results/demo/scores/full/b/" in said


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("results/demo/models/full/models.safetensors", {"models/full", "data/images", "design/full"}),
        ("results/demo/models/full", {"models/full", "data/images", "design/full"}),
        (
            "results/published/demo/metrics/lds/a/lds.json",
            {"lds/a", "scores/full/a", "models/full", "data/images", "design/full"},
        ),
        ("results/demo/design/full/receipt.json", {"design/full"}),
    ],
)
def test_a_path_is_followed_too(target: str, jobs: set[str], here: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(here)
    assert main(["audit", target, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {job["job"] for job in said["chain"]} == {f"results/demo/{job}" for job in jobs}
    assert all(len(job["receipt"]) == 64 for job in said["chain"])


@pytest.mark.parametrize("target", ["demo", "results/demo", "results/published/demo", None])
def test_all_of_a_study_is_audited(target: str | None, here: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(here)
    assert main(["audit", *filter(None, [target])]) == 0
    assert "BROKEN" not in capsys.readouterr().out
    assert main(["audit", *filter(None, [target]), "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert study["ok"]
    assert study["receipts"] == 10


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("demo/lds.a.heldou", "did you mean lds.a.heldout?"),
        ("demos", "results/demos: no such study"),
        ("results/demo/models/half", "no receipt in results/demo tells of it"),
        ("src/attribution", "neither a number, a study nor a path in results/"),
    ],
)
def test_what_is_not_there_is_one_line(target: str, message: str, here: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(here)
    assert main(["audit", target]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_job_that_ran_again_and_wrote_the_same_bytes_is_followed(here: Path, make_job, monkeypatch) -> None:
    """With other code, say; the jobs below were not run again, as their inputs have the same hash."""
    before = json.loads((here / "results/demo/design/full/receipt.json").read_text())["id"]
    after = make_job(here, "design/full", "design", {}, {"subsets.safetensors": b"all of them"}, seed=0, more=1)
    assert after != before
    found = audit(here, "demo", published=False)
    assert found.faults == []
    (note,) = found.notes
    assert f"had the id {before[:12]}; the job was run again as {after[:12]} and wrote the same bytes" in note


def test_a_metric_job_that_ran_again_and_wrote_the_same_bytes_still_has_its_numbers(here: Path, make_job) -> None:
    place = here / "results/demo/lds/a"
    files = {name: (place / name).read_bytes() for name in ("lds.json", "lds.safetensors")}
    read = {"scores": ["results/demo/scores/full/a/scores.safetensors"]}
    make_job(here, "lds/a", "lds", read, files, of="a", more=1)
    assert audit(here, "demo", published=False).faults == []


def test_another_run_than_the_published_one_is_said_not_taken_for_a_break(here: Path, make_job) -> None:
    read = {
        "data": ["results/demo/data/images/train.safetensors"],
        "subsets": ["results/demo/design/full/subsets.safetensors"],
    }
    files = {"models.safetensors": b"other weights", "log.jsonl": b"{}\n"}
    make_job(here, "models/full", "train", read, files, steps=20)
    found = audit(here, "demo", published=True)
    assert found.faults == []
    other = {path for path, state in found.states.items() if state == "another run"}
    assert other == {f"results/demo/models/full/{name}" for name in files}
    local = audit(here, "demo", published=False)  # by itself it is half done: the scores are of the old weights
    assert {fault.where for fault in local.faults} == {"results/demo/models/full/models.safetensors"}


def test_jobs_that_nothing_reads_any_more_are_a_note(local: Path, make_job) -> None:
    """A method taken out of the config leaves its folders behind; a broken file there spoils no number."""
    make_job(local, "scores/full/old", "score", {}, {"scores.safetensors": b"old"}, of="old")
    (local / "results/demo/scores/full/old/scores.safetensors").write_bytes(b"odd")
    found = audit(local, "demo", published=False)
    assert found.faults == []
    assert found.notes == ["1 job folders are no part of the study now, first: results/demo/scores/full/old"]


def test_other_bytes_of_the_data_set_break_every_chain(clone: Path) -> None:
    lock = clone / "dvc.lock"
    lock.write_text(lock.read_text().replace("md5: ", "md5: 0"))
    ((fault, numbers),) = audit(clone, "demo", published=True).spoiled()
    assert "dvc.lock pins 0" in fault.what
    assert set(numbers) == NUMBERS


def test_code_and_config_that_changed_since_are_notes(clone: Path) -> None:
    """The results stay what they were; a fault would blame every edit that comes after a study."""
    (clone / "config/demo.yaml").write_text("seed: 0\n")
    module = clone / "src/attribution/steps/some.py"
    module.parent.mkdir(parents=True)
    module.write_text("x = 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(clone)]
    for words in (["init", "-q"], ["add", "config"], ["commit", "-qm", "study"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    ledger = load(clone, "demo", published=True)
    for entry in ledger.receipts.values():
        entry["code"]["modules"] = {"attribution.steps.some": file_hash(module)}
        entry["run"]["commit"] = commit
    assert since.notes(ledger) == []
    module.write_text("x = 1  # the same\n")
    assert since.notes(ledger) == []
    module.write_text("x = 2\n")
    (clone / "config/demo.yaml").write_text("seed: 1\n")
    code = "code: 1 modules are not as 10 jobs saw them, first: attribution.steps.some"
    config = f"config/demo.yaml: is not as at the commit {commit[:12]}, at which jobs ran"
    assert since.notes(ledger) == [code, config]
    found = audit(clone, "demo", published=True)
    assert found.faults == []
    assert any(note.startswith("code: ") for note in found.notes)


def test_dvc_lock_is_read_as_yaml_reads_it() -> None:
    for stage in ("digits", "cifar2"):
        path = f"data/{stage}.safetensors"
        assert chain.locked_md5(ROOT, path) == locked_md5(ROOT, stage)
    assert chain.locked_md5(ROOT, "data/digits.safetensors") is not None


def test_a_number_names_what_to_search_mlflow_for(here: Path) -> None:
    said = tree.of_number(audit(here, "demo", published=True), "lds.a.heldout")
    made = json.loads((here / "results/demo/lds/a/receipt.json").read_text())
    assert f"MLflow run: tags.`attribution.receipt` = '{made['id']}'\n" in said


def test_nothing_but_python_is_needed(clone: Path) -> None:
    """-I -S: no environment, no site-packages; the package itself is put on the path by hand."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); from attribution.__main__ import main;"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, "audit", "--all"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(clone / "results/published/demo/receipts/models")
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "attribution: broken link: results/published/demo/receipts/models/full/receipt.json: "
    )


def test_everything_published_in_this_repository_holds() -> None:
    """From what git holds, without a package installed."""
    command = [sys.executable, "-S", "-m", "attribution", "audit", "--all", "--chain", "--json"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    studies = json.loads(done.stdout)["studies"]
    assert {study["study"] for study in studies} == set(published_studies(ROOT))
    assert all(study["placed"] == study["numbers"] > 500 for study in studies)


def test_a_clone_without_published_studies_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--all"]) == 1
    assert "no study is published here" in capsys.readouterr().err
    with pytest.raises(StudyError, match="no such study here"):
        audit(tmp_path, "demo", published=True)
