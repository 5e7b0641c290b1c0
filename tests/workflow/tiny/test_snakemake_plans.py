"""Every study of the tree resolves, with and without Slurm, from a fresh checkout."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

STUDIES = sorted(
    path.stem for path in Path(__file__).parents[3].glob("config/*.yaml") if path.stem not in ("config", "claims")
)


Plan = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, working_tree: Callable[[Path], Path]) -> Path:
    return working_tree(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def plan(checkout: Path, snakemake: Plan) -> Plan:
    """The dry run with arguments, of the tree as it is; run once."""
    return cache(lambda *arguments: snakemake(checkout, "-n", *arguments))


def outputs(done: SimpleNamespace) -> set[str]:
    assert done.status == 0, done.text
    return {name for line in re.findall(r"^ +output: (.*)$", done.text, re.MULTILINE) for name in line.split(", ")}


def jobs(done: SimpleNamespace) -> int:
    return int(re.search(r"^total +(\d+)$", done.text, re.MULTILINE)[1])


def edges(done: SimpleNamespace) -> int:
    """Inputs of all jobs together: what planning takes its time for, beside the jobs."""
    return sum(len(line.split(", ")) for line in re.findall(r"^    input: (.*)$", done.text, re.MULTILINE))


@pytest.mark.parametrize("target", [None, *STUDIES])
def test_every_output_lies_beside_its_receipt(target, plan: Plan) -> None:
    made = outputs(plan(*filter(None, [target])))
    assert {f"{Path(name).parent}/receipt.json" for name in made} <= made
    assert {name.split("/")[1] for name in made} >= {target or "digits"}


@pytest.mark.parametrize("target", STUDIES)
def test_a_plan_has_few_edges_and_no_warning(target, plan: Plan) -> None:
    """cifar2: 1,868 edges of 686 jobs. Where every evaluation reads every cohort they are 7,842."""
    done = plan(target)
    assert jobs(done) <= edges(done) < 5 * jobs(done)
    assert "warning" not in done.text.lower()


def test_a_larger_design_adds_its_own_jobs_and_edges_alone(checkout, snakemake) -> None:
    """However many methods it judges. A cohort has 3 jobs; training, measuring and collecting it reads 2 files each."""
    config = checkout / "config/cifar2.yaml"
    before, small = config.read_text(), snakemake(checkout, "-n", "cifar2")
    grown, found = re.subn(
        r"design: \{subsets: 100, (.*), replicates: 5", r"design: {subsets: 108, \1, replicates: 5", before
    )
    assert found == 1
    config.write_text(grown)
    large = snakemake(checkout, "-n", "cifar2")
    config.write_text(before)
    cohorts = 2 * 5  # of four subsets, in each replicate
    assert (jobs(large) - jobs(small), edges(large) - edges(small)) == (3 * cohorts, 6 * cohorts)


def test_slurm_plans_the_same_jobs(plan: Plan) -> None:
    local, slurm = plan(), plan("--profile", "slurm")
    assert outputs(local) == outputs(slurm)
    assert jobs(local) == jobs(slurm) > 40
    assert not re.search(r"^localrule (?!all:)", slurm.text, re.MULTILINE)  # every job goes to a node


def test_slurm_asks_for_what_the_config_says(checkout, snakemake) -> None:
    config = checkout / "config/smoke.yaml"
    before = config.read_text()
    after, found = re.subn(
        "^resources: .*$", "resources: {mem_mb: 4321, runtime: 17, gpu: 1}", before, flags=re.MULTILINE
    )
    assert found == 1
    config.write_text(after)
    done = snakemake(checkout, "-n", "--profile", "slurm", "results/smoke/models/full/models.safetensors")
    config.write_text(before)
    asked = re.search(r"^rule train:\n(?: .*\n)*?    resources: (.*)$", done.text, re.MULTILINE)[1]
    assert {"mem_mb=4321", "runtime=17", "gpu=1", "slurm_partition=", "slurm_account="} <= set(asked.split(", "))
