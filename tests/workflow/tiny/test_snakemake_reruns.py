"""What an edit reruns: exactly the jobs whose result it may change, planned by Snakemake for a finished study."""

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from attribution.workflow.dvc import locked_md5
from attribution.workflow.spec import lock_name

pytestmark = pytest.mark.slow  # the study they start from takes most of a minute

COHORTS = ["full", "crn0_000_007", "crn1_000_007", "own0_000_002", "own1_000_002"]
METHODS = {
    "score_similarity": ["random", "pixel_cosine", "pixel_l2"],
    "score_gradients": ["gradient_dot", "gradient_cosine", "trak"],
    "score_influence": ["ekfac"],
}
JOBS = {
    *("dataset", "queries", "gradients", "gram", "curvature", "rotate", "sweep_draws", "lds_draws", "ceiling"),
    *("numbers", "tables", "figures"),
    *(f"{rule}/{cohort}" for rule in ("design", "train") for cohort in COHORTS),
    *(f"measure/{cohort}" for cohort in COHORTS if cohort != "full"),
    *(f"{rule}/{method}" for rule, methods in METHODS.items() for method in methods),
    *(f"lds/{method}" for methods in METHODS.values() for method in methods),
}

SUMMARY = "numbers tables figures"
JUDGED = f"lds/* lds_draws ceiling {SUMMARY}"
GRADIENTS = "gradients gram rotate score_gradients/* score_influence/* sweep_draws"
QUERIED = f"queries score_similarity/* {GRADIENTS} measure/* {JUDGED}"
TRAINED = f"train/* curvature {QUERIED}"
CONFIG = "config/tiny.yaml"
TRAK = "src/attribution/methods/trak.py"
LOOP = "src/attribution/training/loop.py"
DIGITS = locked_md5(Path(__file__).parents[3], "digits")
PINS = f"envs/{lock_name()}.lock.txt"

NOTHING = {
    "a comment, a docstring, the layout": [
        (LOOP, "    model.train()\n", "    # dropout is on while we train\n\n    model.train()\n"),
        (TRAK, "one eigendecomposition in all", "a single eigendecomposition"),
        (TRAK, "    kernel = gram[", "    kernel = (gram)["),
    ],
    "code that plans, records and mirrors": [
        ("src/attribution/provenance/receipt.py", "indent=2", "indent=1"),
        ("src/attribution/tracking/records.py", "import json\n", "import json\n\nSPARE = 1\n"),
        ("src/attribution/workflow/config_rules.py", '"digits": 1797', '"digits": 1796'),
    ],
    "title": [(CONFIG, "title: Tiny", "title: Small")],
    "resources": [(CONFIG, "mem_mb: 500, runtime: 5, gpu: 0", "mem_mb: 900, runtime: 7, gpu: 1")],
    "how a number is written": [
        (CONFIG, "learning_rate: 0.003\n", "learning_rate: 3.0e-3\n"),
        (CONFIG, "clip_norm: 1.0", "clip_norm: 1"),
    ],
    "threads, resources and comments of a rule": [
        ("workflow/rules/summary.smk", "rule tables:", "# Again.\nrule tables:"),
        ("workflow/rules/curvature.smk", "# Their inner products.\n", ""),
        ("workflow/rules/summary.smk", "mem_mb=2000", "mem_mb=2500"),
        ("workflow/rules/scores.smk", "mem_mb=2000,\n        runtime=10", "mem_mb=2000,\n        runtime=20"),
    ],
}

SOME = {
    "code of one method": (
        [(TRAK, "values.clip(min=0)", "values.clip(min=1e-9)")],
        f"score_gradients/trak sweep_draws lds/trak lds_draws {SUMMARY}",
    ),
    "code of training": ([(LOOP, "(1 + step) / (10 + step)", "(2 + step) / (10 + step)")], TRAINED),
    "code of one step": ([("src/attribution/steps/tables.py", '+ "\\n"', '+ "\\n\\n"')], "tables"),
    "command of a rule": (
        [("workflow/rules/summary.smk", '" --numbers {input.numbers}"\n', '"  --numbers {input.numbers}"\n')],
        "tables",
    ),
    "curvature.draws": (
        [(CONFIG, "fisher: mc, draws: 2", "fisher: mc, draws: 3")],
        f"curvature rotate score_influence/* sweep_draws lds/ekfac lds_draws {SUMMARY}",
    ),
    "training.steps": ([(CONFIG, "steps: 20", "steps: 21")], TRAINED),
    "measurement.draws": ([(CONFIG, "{draws: 5, batch", "{draws: 6, batch")], f"measure/* {JUDGED}"),
    "gradients.draws": (
        [(CONFIG, "gradients: {draws: 4", "gradients: {draws: 5")],
        "gradients gram rotate score_gradients/* score_influence/* "
        f"lds/gradient_dot lds/gradient_cosine lds/trak lds/ekfac {SUMMARY}",
    ),
    "draws_sweep.draws": ([(CONFIG, "draws: [2, 4]", "draws: [3, 4]")], "sweep_draws lds_draws figures"),
    "evaluation.bootstrap": ([(CONFIG, "bootstrap: 20", "bootstrap: 30")], JUDGED),
    "a method's dampings": (
        [(CONFIG, "trak: {damping: 0.1, dampings: [0.1, 1.0]}", "trak: {damping: 0.1, dampings: [0.1, 2.0]}")],
        f"score_gradients/trak lds/trak {SUMMARY}",
    ),
    "queries.generated": ([(CONFIG, "generated: 3", "generated: 2")], QUERIED),
    "two values swapped": (
        [(CONFIG, "{generated: 3, heldout: 4, training: 5}", "{generated: 5, heldout: 4, training: 3}")],
        QUERIED,
    ),
    "queries.heldout": ([(CONFIG, "heldout: 4", "heldout: 3")], f"dataset {TRAINED}"),
    "seed": ([(CONFIG, "seed: 0", "seed: 1")], "*"),
    "a pinned package": ([(PINS, "\nnumpy==", "\nnumpy==0")], "*"),
    "the bytes of the dataset": ([("dvc.lock", DIGITS, DIGITS[::-1])], f"dataset {TRAINED}"),
}


def of(patterns: str) -> set[str]:
    """The jobs of the study that the patterns name; each must name one."""
    found = set()
    for pattern in patterns.split():
        named = {job for job in JOBS if fnmatchcase(job, pattern)}
        assert named, f"{pattern} names no job"
        found |= named
    return found


def test_the_study_ran_every_job_and_has_nothing_to_do(finished: Path, planned: Callable[..., set[str]]) -> None:
    receipts = {path.parent.relative_to(finished / "results/tiny") for path in finished.rglob("receipt.json")}
    assert len(receipts) == len(JOBS)
    assert planned(finished, "tiny") == planned(finished) == set()
    assert planned(finished, "--forceall", "tiny") == JOBS


@pytest.mark.parametrize("case", NOTHING)
def test_what_changes_no_result_reruns_nothing(case, tree, edit, planned) -> None:
    for change in NOTHING[case]:
        edit(*change)
    assert planned(tree) == set()


@pytest.mark.parametrize("case", SOME)
def test_what_changes_results_reruns_just_those(case, tree, edit, planned) -> None:
    changes, jobs = SOME[case]
    for change in changes:
        edit(*change)
    assert planned(tree) == of(jobs)


def test_touching_every_file_reruns_nothing(tree: Path, planned: Callable[..., set[str]]) -> None:
    """Results first, in the order of their making turned round: every input is then newer than what was made of it."""
    results = sorted((tree / "results").rglob("*"), key=lambda path: -path.stat().st_mtime_ns)
    rest = [path for path in tree.rglob("*") if not {"results", ".snakemake"} & set(path.relative_to(tree).parts)]
    for second, path in enumerate(path for path in [*results, *rest] if path.is_file()):
        os.utime(path, (2_000_000_000 + second,) * 2)
    assert planned(tree) == set()


def test_more_subsets_train_just_the_new_ones(tree, edit, planned) -> None:
    """Full cohorts keep their names and models; the incomplete one is trained again, as its name says."""
    edit(CONFIG, "subsets: 8, ", "subsets: 9, ")
    new = {f"{rule}/crn{replicate}_008_008" for rule in ("design", "train", "measure") for replicate in (0, 1)}
    assert planned(tree) == new | of(JUDGED)


def test_an_incomplete_cohort_is_trained_again_when_it_grows(tree, edit, planned) -> None:
    edit(CONFIG, "control_subsets: 3", "control_subsets: 4")
    new = {f"{rule}/own{replicate}_000_003" for rule in ("design", "train", "measure") for replicate in (0, 1)}
    assert planned(tree) == new | of(f"ceiling {SUMMARY}")


def test_a_new_method_makes_its_scores_and_what_collects_them(tree, edit, planned) -> None:
    edit(CONFIG, "  ekfac:", "  kfac: {damping: 0.1, dampings: [0.1]}\n  ekfac:")
    assert planned(tree) == {"score_influence/kfac", "lds/kfac"} | of(SUMMARY)


def test_a_method_less_makes_what_collected_it(tree, edit, planned) -> None:
    edit(CONFIG, "  gradient_cosine: {}\n", "")
    assert planned(tree) == of(SUMMARY)


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("figures/samples.png", "figures"),
        ("figures/seed_control.svg", "figures"),
        ("tables/lds.csv", "tables"),
        ("figures/receipt.json", "figures"),
        ("numbers/numbers.json", "numbers tables"),
    ],
)
def test_a_deleted_final_file_is_made_again(name, jobs, tree, planned) -> None:
    (tree / "results/tiny/summary" / name).unlink()
    assert planned(tree) == of(jobs)


def test_a_deleted_intermediate_file_reruns_nothing(tree, planned) -> None:
    """What was made of it is there; its folder may be deleted to save space."""
    (tree / "results/tiny/gradients/full/train.safetensors").unlink()
    assert planned(tree) == set()
