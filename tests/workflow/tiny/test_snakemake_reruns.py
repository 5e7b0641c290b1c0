"""What an edit reruns: exactly the jobs whose result it may change, planned by Snakemake for a finished study."""

import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from attribution.data import dataset
from attribution.workflow.dvc import file_md5, locked_md5
from attribution.workflow.spec import lock_name

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute

DESIGNED = ["full", "crn0_000_007", "crn1_000_007", "own0_000_003", "own1_000_003"]
REMOVED = ["without0_random", "without25_random", "without25_ekfac"]
COUNTED = ["leave0_random", "leave4_random", "joint3_random"]
PARTS = ["000_019", "020_039"]
METHODS = {
    "score_similarity": ["random", "pixel_l2"],
    "score_gradients": ["gradient_dot", "gradient_cosine", "trak", "dtrak", "journey_trak"],
    "score_checkpoints": ["tracin"],
    "score_curvature": ["diagonal"],
    "score_influence": ["ekfac"],
    "score_ensemble": ["ensemble_trak"],
    "score_combined": ["ensemble_stack"],
    "score_unlearning": ["mucs", "abu_plus"],
}
GRADIENTS = ["full_train_loss", "full_train_squared_norm", "seed1_train_loss"]
JOBS = {
    *("dataset", "queries", "checkpoints", "checkpoint_products", "sweep_draws", "lds_draws", "ceiling", "removal"),
    *("overestimate", "prevalence", "numbers", "tables", "figures", "prefilter", "overlap", "counterfactual"),
    *("reference/main", "unlearn/mirrored_all", "unlearn_newton/newton_ekfac_all"),
    *(f"gradients/{name}_{part}" for name in GRADIENTS for part in PARTS),
    *(f"gradients/{model}_queries_loss_all" for model in ("full", "seed1")),
    *(f"gradients/full_queries_{of}_all" for of in ("squared_norm", "journey")),
    *(f"gram/{name}_none" for name in ("full_loss_loss", "full_squared_norm_squared_norm", "full_journey_loss")),
    *("gram/seed1_loss_loss_none", "basis/full_model", "rotate/full_model_queries_loss_all"),
    *(f"{rule}_{part}" for rule in ("factors/full_model", "eigenvalues/full_model") for part in PARTS),
    *(f"rotate/full_model_train_loss_{part}" for part in PARTS),
    *(f"design/{cohort}" for cohort in [*DESIGNED, "seeds0_001_001"]),
    *(f"remove/{cohort}" for cohort in REMOVED),
    *(f"train/{cohort}" for cohort in [*DESIGNED, *REMOVED, *COUNTED, "seeds0_001_001"]),
    *(f"{rule}/{cohort}" for rule in ("leave_k_out", "regenerate") for cohort in COUNTED),
    *(f"measure/{cohort}" for cohort in DESIGNED[1:] + REMOVED),
    *(f"outcomes/{stream}" for stream in ("crn", "own")),
    *(f"{rule}/full_{method}" for rule, methods in METHODS.items() for method in methods),
    "score_gradients/seed1_trak",
    *(f"lds/{method}" for methods in METHODS.values() for method in methods),
}

SUMMARY = "numbers tables figures"
SCORED = f"overestimate prevalence {SUMMARY}"  # what reads the scores of all methods
WITHOUT = "remove/* train/without* measure/without* removal overestimate"  # the models of all examples are among them
WITHOUT_EKFAC = "remove/without25_ekfac train/without25_ekfac measure/without25_ekfac removal"
COUNTERFACTUAL = "leave_k_out/* train/leave* train/joint* regenerate/* counterfactual overlap"
# A ranking of examples is made at a damping that LDS chooses.
JUDGED = f"outcomes/crn lds/* lds_draws ceiling score_combined/* {WITHOUT} {COUNTERFACTUAL} {SCORED}"
QUERIED = (
    "queries gradients/*_queries_* gram/* rotate/*_queries_* checkpoint_products score_*/* sweep_draws measure/* "
    f"outcomes/own unlearn*/* prefilter {JUDGED}"
)
NEWTON = "unlearn_newton/* score_unlearning/full_abu_plus score_combined/* lds/abu_plus lds/ensemble_stack"
CURVED = "factors/* basis/* eigenvalues/* rotate/*"
TRAINED = f"train/* reference/* checkpoints gradients/* {CURVED} {QUERIED}"
CONFIG = "config/tiny.yaml"
TRAK = "src/attribution/methods/trak.py"
CODE = "\nSPARE = 1\n"
DIGITS = locked_md5(Path(__file__).parents[3], "digits")
PINS = f"envs/{lock_name()}.lock.txt"

NOTHING = {
    "code that plans, records and mirrors": [
        (f"src/attribution/{name}.py", "", CODE)
        for name in ("errors", "workflow/config_rules", "provenance/receipt", "tracking/records")
    ],
    "threads, resources and comments of a rule": [
        ("workflow/rules/summary.smk", "rule tables:", "# Again.\nrule tables:"),
        ("workflow/rules/summary.smk", 'needs("figures", 2000, 10)', 'needs("figures", 2500, 10)'),
    ],
    "how a number is written": [
        (CONFIG, "learning_rate: 0.003\n", "learning_rate: 3.0e-3\n"),
        (CONFIG, "clip_norm: 1.0", "clip_norm: 1"),
    ],
    "title": lambda study: study.update(title="Small"),
    "resources": lambda study: study["resources"].update(mem_mb=900, runtime=7, gpu=1),
}

SOME = {
    "code of one method": (
        [(TRAK, "", CODE)],
        "score_gradients/*trak score_ensemble/* sweep_draws lds/*trak "  # a family is one module
        f"lds_draws score_combined/* lds/ensemble_stack {SCORED}",
    ),
    "label of a method": ([(TRAK, '"label": "DAS"', '"label": "D A S"')], ""),  # which the study does not have
    "label of one of its methods": ([(TRAK, '"label": "D-TRAK"', '"label": "DTRAK"')], "tables figures"),
    "a default damping": (
        lambda study: study["methods"]["dtrak"].update(damping=1.0),
        f"lds/dtrak prefilter {SCORED}",  # scores are of all dampings
    ),
    "code of training": ([("src/attribution/training/loop.py", "", CODE)], TRAINED),
    "code of one step": ([("src/attribution/steps/tables.py", "", CODE)], "tables"),
    "code of how methods are labelled": ([("src/attribution/reporting/names.py", "", CODE)], SUMMARY),
    "code of how figures look": ([("src/attribution/reporting/style.py", "", CODE)], "figures"),
    "command of a rule": (
        [("workflow/rules/summary.smk", '" --numbers {input.numbers}"\n', '"  --numbers {input.numbers}"\n')],
        "tables",
    ),
    "seed": (lambda study: study.update(seed=1), "*"),
    "training.steps": (lambda study: study["training"].update(steps=21), TRAINED),
    "two training values swapped": (lambda study: study["training"].update(batch=2, warmup_steps=8), TRAINED),
    "checkpoints.draws": (
        lambda study: study["checkpoints"].update(draws=3),
        f"checkpoint_products score_checkpoints/* lds/tracin {SCORED}",
    ),
    "curvature.draws": (
        lambda study: study["curvature"]["kinds"]["model"].update(draws=3),
        f"{CURVED} score_influence/* sweep_draws lds/ekfac lds_draws {NEWTON} {WITHOUT_EKFAC} {SCORED}",
    ),
    "gradients.draws": (
        lambda study: study["gradients"].update(draws=5),
        "gradients/* gram/* rotate/* score_gradients/* score_ensemble/* score_curvature/* score_influence/* "
        f"lds/gradient_* lds/*trak lds/diagonal lds/ekfac {NEWTON} {WITHOUT_EKFAC} {SCORED}",
    ),
    "measurement.draws": (lambda study: study["measurement"].update(draws=6), f"measure/* outcomes/own {JUDGED}"),
    "evaluation.bootstrap": (
        lambda study: study["evaluation"].update(bootstrap=30),
        f"ceiling removal prefilter counterfactual overlap {SCORED}",  # intervals of LDS resample nothing
    ),
    "draws_sweep.draws": (
        lambda study: study["draws_sweep"].update(draws=[3, 4]),
        "sweep_draws lds_draws figures",
    ),
    "removal.replicates": (lambda study: study["removal"].update(replicates=2), f"{WITHOUT} {SUMMARY}"),
    "a method's dampings": (
        lambda study: study["methods"]["dtrak"].update(dampings=[0.1, 20.0]),
        f"score_gradients/full_dtrak lds/dtrak prefilter {SCORED}",
    ),
    "sampling.steps": (lambda study: study["sampling"].update(steps=6), QUERIED),
    "queries.generated": (lambda study: study["queries"].update(generated=2), QUERIED),
    "code of scoring by unlearning": (
        [("src/attribution/unlearning/skew.py", "", CODE)],
        f"score_unlearning/* lds/mucs lds/abu_plus prefilter {SCORED}",  # and no model is unlearned anew
    ),
    "unlearning.kinds": (
        lambda study: study["unlearning"]["kinds"]["mirrored"].update(max_steps=3),
        f"unlearn/* score_unlearning/full_mucs lds/mucs prefilter {SCORED}",
    ),
    "counterfactual.joint": (
        lambda study: study["counterfactual"]["joint"].update(queries=2),
        "leave_k_out/* train/leave* train/joint* regenerate/* counterfactual numbers tables",
    ),
    "two values swapped": (lambda study: study["queries"].update(generated=5, training=3), QUERIED),
    "queries.heldout": (lambda study: study["queries"].update(heldout=3), QUERIED),
    "a pinned package": ([(PINS, "\nnumpy==", "\nnumpy==0")], "*"),
    "the bytes of the dataset": ([("dvc.lock", DIGITS, DIGITS[::-1])], f"dataset {TRAINED}"),
}


@pytest.fixture
def change(edit, configure) -> Callable:
    """Makes the changes of a case: edits of texts, or a function of the config."""

    def make(changes) -> None:
        if callable(changes):
            return configure(changes)
        for one in changes:
            edit(*one)

    return make


def of(patterns: str) -> set[str]:
    """The jobs of the study that the patterns name; each must name one."""
    found = set()
    for pattern in patterns.split():
        named = {job for job in JOBS if fnmatchcase(job, pattern)}
        assert named, f"{pattern} names no job"
        found |= named
    return found


def test_the_study_ran_every_job_and_has_nothing_to_do(finished: Path, planned: Callable[..., set[str]]) -> None:
    receipts = {
        path.parent.relative_to(finished / "results/tiny") for path in (finished / "results/tiny").rglob("receipt.json")
    }
    assert len(receipts) == len(JOBS)
    assert planned(finished, "tiny") == planned(finished) == set()
    assert planned(finished, "--forceall", "tiny") == JOBS


@pytest.mark.parametrize("case", NOTHING)
def test_what_changes_no_result_reruns_nothing(case, tree, change, planned) -> None:
    change(NOTHING[case])
    assert planned(tree) == set()


@pytest.mark.parametrize("case", SOME)
def test_what_changes_results_reruns_just_those(case, tree, change, planned) -> None:
    changes, jobs = SOME[case]
    change(changes)
    assert planned(tree) == of(jobs)


def test_comments_docstrings_and_layout_rerun_nothing(tree, planned) -> None:
    """In every module at once."""
    modules = [path for path in (tree / "src/attribution").rglob("*.py") if path.read_text()]
    for path in modules:
        text, found = re.subn(r'\A"""', '"""Once more: ', path.read_text())
        assert found == 1, path
        path.write_text(f"# A comment.\n{text}\n\n\n\n# Another one.\n")
    assert planned(tree) == set()


def test_touching_every_file_reruns_nothing(tree: Path, planned: Callable[..., set[str]]) -> None:
    """Results first, in the order of their making turned round: every input is then newer than what was made of it."""
    results = sorted((tree / "results").rglob("*"), key=lambda path: -path.stat().st_mtime_ns)
    rest = [path for path in tree.rglob("*") if not {"results", ".snakemake"} & set(path.relative_to(tree).parts)]
    for second, path in enumerate(path for path in [*results, *rest] if path.is_file()):
        os.utime(path, (2_000_000_000 + second,) * 2)
    assert planned(tree) == set()


def test_another_label_of_an_image_reruns_all_that_is_drawn_from_the_dataset(tree: Path, edit, planned) -> None:
    """As after `dvc commit` of a dataset in which one label was corrected."""
    path = tree / "data/digits.safetensors"
    images = dataset.load(path)
    images.labels[0] += 1
    dataset.save(path, images)
    edit("dvc.lock", DIGITS, file_md5(path))
    assert planned(tree) == of(f"dataset {TRAINED}")


def retrained(*cohorts: str) -> set[str]:
    """The jobs of a cohort's own."""
    return {f"{rule}/{cohort}" for rule in ("design", "train", "measure") for cohort in cohorts}


def test_more_subsets_train_just_the_new_ones(tree, configure, planned) -> None:
    """A complete cohort keeps its name and its models."""
    configure(lambda study: study["design"].update(subsets=9))
    assert planned(tree) == retrained("crn0_008_008", "crn1_008_008") | of(JUDGED)


def test_another_replicate_trains_just_itself(tree, configure, planned) -> None:
    configure(lambda study: study["design"].update(replicates=3))
    assert planned(tree) == retrained("crn2_000_007", "own2_000_003") | of(f"outcomes/own {JUDGED}")


def test_an_incomplete_cohort_is_trained_again_when_it_grows(tree, configure, planned) -> None:
    """Its name says what it holds."""
    configure(lambda study: study["design"].update(control_subsets=5))
    assert planned(tree) == retrained("own0_000_004", "own1_000_004") | of(f"outcomes/own ceiling {SUMMARY}")


def test_a_larger_removal_trains_just_that(tree, configure, planned) -> None:
    configure(lambda study: study["removal"].update(percents=[25, 50]))
    new = {f"{rule}/without50_{by}" for rule in ("remove", "train", "measure") for by in ("random", "ekfac")}
    assert planned(tree) == new | of(f"removal {SUMMARY}")


def test_a_new_method_makes_its_scores_and_what_collects_them(tree, configure, planned) -> None:
    configure(lambda study: study["methods"].update(kfac=study["methods"]["ekfac"]))
    assert planned(tree) == {"score_influence/full_kfac", "lds/kfac"} | of(f"prefilter {SCORED}")


def test_a_new_method_makes_the_gradients_that_it_needs(tree, configure, planned) -> None:
    configure(lambda study: study["methods"].update(dtrak_l1=study["methods"]["dtrak"] | {"feature": "l1_norm"}))
    new = {f"gradients/full_train_l1_norm_{part}" for part in PARTS} | {"gram/full_squared_norm_l1_norm_none"}
    assert planned(tree) == new | {"score_gradients/full_dtrak_l1", "lds/dtrak_l1"} | of(f"prefilter {SCORED}")


def test_a_method_less_makes_what_collected_it(tree, configure, planned) -> None:
    configure(lambda study: study["methods"].pop("gradient_cosine"))
    assert planned(tree) == of(f"prefilter {SCORED}")


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
    (tree / "results/tiny/gradients/full/train/loss/000_019/gradients.safetensors").unlink()
    assert planned(tree) == set()
