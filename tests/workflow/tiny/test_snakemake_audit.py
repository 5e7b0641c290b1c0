"""A study that really ran is audited without a fault, and its jobs run again from their receipts alone."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute
DRAWN = 4


def test_an_untouched_study_has_no_fault(finished: Path, attribution) -> None:
    done = attribution(finished, "audit", "tiny", "--json")
    assert done.status == 0, done.error
    (study,) = json.loads(done.text)["studies"]
    assert study["broken"] == study["notes"] == []
    assert set(study["files"].values()) == {"same"}
    assert study["numbers"] > 50


def test_jobs_run_again_from_their_receipts_and_reproduce(finished: Path, attribution) -> None:
    done = attribution(finished, "audit", "tiny", "--rerun", str(DRAWN), "--seed", "2", "--json")
    assert done.status == 0, done.text + done.error
    said = json.loads(done.text)
    assert said["not_drawable"] == {}
    assert len(said["jobs"]) == DRAWN
    assert all(job["exact"] for job in said["jobs"])  # on one machine even byte for byte


def test_it_is_published_with_all_that_an_audit_needs(tree: Path, attribution) -> None:
    (tree / "README.md").write_text("No numbers.\n")
    assert attribution(tree, "publish", "tiny").status == 0
    for folder in ("results/tiny", "data"):
        (tree / folder).rename(tree / folder.replace("/", "_away_"))
    done = attribution(tree, "audit", "tiny", "--json")
    assert done.status == 0, done.error
    (study,) = json.loads(done.text)["studies"]
    assert (study["published"], study["level"], study["broken"]) == (True, "chain only", [])
    model = tree / "results/published/tiny/receipts/models/full/receipt.json"
    model.write_text(model.read_text().replace('"cpu"', '"gpu"', 1))
    done = attribution(tree, "audit", "tiny/lds.ekfac.heldout")
    assert done.status == 1
    assert "broken link: results/published/tiny/receipts/models/full/receipt.json" in done.error
