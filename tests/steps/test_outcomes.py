"""Outcomes of retraining put together from cohorts, and read again: every loss at its replicate, subset and query."""

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job
from attribution.steps import outcomes, retrained

S, N, Q, HALF = 6, 10, 4, 3
LOSS = rng(0, "test outcomes").normal(size=(2, S, Q))
MEMBERS = np.stack([np.sort(rng(0, "test members", s).permutation(N)[:5]) for s in range(S)])


@pytest.fixture
def cohorts(tmp_path):
    """Files of two replicates in two cohorts each, the flags of the step."""
    files = {"subsets": [], "losses": []}
    for replicate in (0, 1):
        for rows in (range(HALF), range(HALF, S)):
            files["subsets"].append(tmp_path / f"{replicate}_{rows[0]}_subsets.safetensors")
            files["losses"].append(tmp_path / f"{replicate}_{rows[0]}_losses.safetensors")
            meta = {"replicate": replicate, "names": [f"crn{replicate}/subset {s}" for s in rows]}
            save_tensors(files["subsets"][-1], {"number": np.array(rows), "members": MEMBERS[rows]}, meta)
            loss = LOSS[replicate, rows]
            save_tensors(files["losses"][-1], {"loss": loss, "elbo": -loss})
    return files


def collected(files, out):
    outcomes.run(Job("outcomes", {"job": {"stream": "crn"}}, out, files, "id"))
    return out / "outcomes.safetensors"


def test_every_loss_keeps_its_place(cohorts, tmp_path):
    path = collected(cohorts, tmp_path / "out")
    assert load_meta(path) == {"names": [[f"crn{r}/subset {s}" for s in range(S)] for r in (0, 1)]}
    assert load_tensors(path)["replicate"].tolist() == [0, 1]
    found = retrained.retrained_for(path, N, ["elbo", "loss"])
    np.testing.assert_array_equal(found["loss"].outcomes, LOSS)
    np.testing.assert_array_equal(found["elbo"].outcomes, -LOSS)
    assert found["loss"].numbers.tolist() == list(range(S))
    for mask, members in zip(found["loss"].masks, MEMBERS, strict=True):
        assert np.flatnonzero(mask).tolist() == members.tolist()


def test_the_order_of_cohorts_does_not_count(cohorts, tmp_path):
    backwards = {name: files[::-1] for name, files in cohorts.items()}
    one, two = collected(cohorts, tmp_path / "one"), collected(backwards, tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()


def test_a_quantity_that_was_not_measured_is_named(cohorts, tmp_path):
    path = collected(cohorts, tmp_path / "out")
    with pytest.raises(StudyError, match=r"holds no trajectory \(measured: elbo, loss\)"):
        retrained.retrained(path, N, "trajectory")


def test_cohorts_that_do_not_fit_are_refused(cohorts, tmp_path):
    def refused(match, **changes):
        with pytest.raises(StudyError, match=match):
            collected(cohorts | changes, tmp_path / "out")

    refused(r"replicate 1 lacks the subsets \[3, 4, 5\]", **{name: files[:3] for name, files in cohorts.items()})
    refused("no retrained models", subsets=[], losses=[])
    other = [*cohorts["losses"][:3], tmp_path / "other.safetensors"]
    save_tensors(other[3], {"loss": LOSS[1, HALF:]})
    refused("other.safetensors: holds loss, .* elbo, loss: rerun both", losses=other)
    save_tensors(other[3], {"loss": LOSS[1, :2], "elbo": LOSS[1, :2]})
    refused("of 2 models, .* has 3 subsets", losses=other)
    moved = [*cohorts["subsets"][:3], tmp_path / "moved.safetensors"]
    drawn = load_tensors(cohorts["subsets"][3])
    drawn["members"][1, 0] ^= 1
    save_tensors(moved[3], drawn, load_meta(cohorts["subsets"][3]))
    refused("moved.safetensors: subset 4 is not that of other replicates", subsets=moved)
