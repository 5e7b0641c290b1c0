"""The crate of a study: all of its jobs and files, and valid by the validator of the people who made the profiles."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from attribution.__main__ import main
from attribution.provenance import crate, receipt

ROOT = Path(__file__).parents[2]
VALIDATOR = ROOT / ".crate/bin/python"


@pytest.fixture
def written(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crate of the small study, of a clone with a workflow, a config and one of its steps."""
    for name in ("Snakefile", "config/demo.yaml", "workflow/rules/a.smk", "src/attribution/steps/train.py"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(f"# {name}\n")
    monkeypatch.chdir(clone)
    assert main(["crate", "demo", "--out", "crate"]) == 0
    return clone / "crate"


def entities(folder: Path) -> dict[str, dict]:
    graph = json.loads((folder / crate.METADATA).read_text())["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def test_every_job_is_an_action_on_files_by_their_hash(written: Path) -> None:
    found = entities(written)
    jobs = {entity["name"]: entity for at, entity in found.items() if at.startswith("#job/")}
    assert len(jobs) == 10
    train = jobs["results/demo/models/full"]
    assert train["instrument"] == {"@id": "src/attribution/steps/train.py"}
    assert jobs["results/demo/lds/a"]["instrument"] == {"@id": "#tool/lds"}  # a step that this clone does not have
    read = {found[item["@id"]]["name"] for item in train["object"]}
    assert read == {
        "results/demo/data/images/train.safetensors",
        "results/demo/design/full/subsets.safetensors",
        "spec",
    }
    assert [found[item["@id"]]["name"] for item in train["result"]] == [
        "results/demo/models/full/models.safetensors",
        "results/demo/models/full/log.jsonl",
    ]
    assert (train["startTime"], train["endTime"]) == ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:02+00:00")
    scores = jobs["results/demo/scores/full/a"]
    assert scores["object"][0] == train["result"][0]  # one job's output is the next one's input
    assert {"@id": "results/published/demo/metrics/lds/a/lds.json"} in jobs["results/demo/lds/a"]["result"]
    drawn = json.loads((written.parent / "results/published/demo/receipts/data/images/receipt.json").read_text())
    assert found[f"urn:md5:{drawn['spec']['dvc_md5']}"]["name"] == "data/digits.safetensors"


def test_every_reference_leads_somewhere_and_every_file_is_there(written: Path) -> None:
    found = entities(written)
    text = (written / crate.METADATA).read_text()
    named = {part.split('"')[0] for part in text.split('"@id": "')[1:]}
    of_snakemake = {"https://snakemake.readthedocs.io", "https://doi.org/10.1093/bioinformatics/bts480"}
    outside = {"https://w3id.org/ro/crate/1.1"} | of_snakemake
    assert named - set(found) == outside
    parts = {item["@id"] for item in found["./"]["hasPart"]}
    here = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert here - {crate.METADATA} == {part for part in parts if ":" not in part}
    for part in here - {crate.METADATA, "Snakefile"}:
        assert found[part]["sha256"] == receipt.sha256(written / part)


def test_a_folder_that_is_there_and_a_broken_chain_are_refused(written: Path, capsys) -> None:
    assert main(["crate", "demo", "--out", "crate"]) == 1
    assert "is there already" in capsys.readouterr().err
    (written.parent / "results/published/demo/metrics/lds/a/lds.json").write_text("{}")
    assert main(["crate", "demo", "--out", "another"]) == 1
    assert "no crate is made of a broken chain" in capsys.readouterr().err
    assert not (written.parent / "another").exists()


@pytest.mark.slow
@pytest.mark.skipif(not VALIDATOR.exists(), reason="make test sets up the validator's environment, .crate")
def test_the_validator_finds_nothing_and_would(written: Path) -> None:
    """Required checks of RO-Crate 1.1, Workflow RO-Crate and the three Run Crate profiles; and of crates made worse."""
    worse = {"instrument": "#job/", "object": "#control/", "workExample": "#step/"}
    for key, start in worse.items():
        place = Path(shutil.copytree(written, written.with_name(f"without_{key}")))
        document = json.loads((place / crate.METADATA).read_text())
        next(entity for entity in document["@graph"] if entity["@id"].startswith(start)).pop(key)
        (place / crate.METADATA).write_text(json.dumps(document))
    crates = [written, *(written.with_name(f"without_{key}") for key in worse)]
    command = [VALIDATOR, Path(__file__).with_name("validate_crate.py"), *crates]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    said = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    failed = {Path(place).name: issues for place, issues in json.loads(said).items()}
    assert failed.pop("crate") == []
    assert len(failed) == len(worse)
    assert all(failed.values()), failed
