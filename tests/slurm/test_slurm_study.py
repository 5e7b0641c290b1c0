"""A whole study on the test cluster, undisturbed: the outputs of a local run, and what each job costs beyond its step.

STUDY=smoke pytest -s tests/slurm/test_slurm_study.py         an hour on two cores
"""

import os

import pytest

STUDY = os.environ.get("STUDY")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not STUDY, reason="STUDY names no study of config/")]


def test_a_study_on_a_cluster_is_that_of_one_host(
    working_tree, tmp_path, cluster, snakemake, whole, outputs_of, costs
) -> None:
    here, there = (working_tree(tmp_path / name) for name in ("here", "there"))
    done = snakemake(here, "--cores", "2", STUDY)
    assert done.status == 0, done.text
    run = whole(there, STUDY)
    assert run.status == 0, run.log[-6000:]
    local, outputs = outputs_of(here), outputs_of(there)
    print(f"\n{len(local)} outputs")
    assert {path for path in local.keys() | outputs.keys() if local.get(path) != outputs.get(path)} == set()
    (all_jobs,) = [row for row in costs(run) if row[0] == "all single steps"]
    assert 0 < all_jobs[6] < all_jobs[4]
