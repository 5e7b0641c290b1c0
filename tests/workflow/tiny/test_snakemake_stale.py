"""Results that are not those of the study as it stands: copied, renamed, edited, killed, made by other code. The plan
names exactly the jobs that must run, and what then ends is what a run that nothing disturbed ends in.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from attribution.provenance import believe, receipt

pytestmark = pytest.mark.slow  # the study they start from takes a quarter of a minute
HOME = Path("results/tiny")
OTHER = Path("results/tiny2")
TRACKED = ("config/claims.yaml", "results/published/benchmarks/peers.csv")
PIXELS = "scores/full/pixel_l2"
SCORED = {"overestimate", "prevalence", "numbers", "tables", "figures"}  # what reads the scores of all methods


def read_by(*jobs: str) -> set[str]:
    """What runs where scores by pixel_l2 run, and more jobs."""
    return {"lds/pixel_l2", "prefilter", *SCORED, *jobs}


def older(path: Path, text: str) -> None:
    """Other bytes, as `cp -p` or `tar x` put them there: with a time that is long past."""
    path.write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


def forget(tree: Path) -> None:
    shutil.rmtree(tree / ".snakemake")


def configured(tree: Path, **changes: object) -> None:
    """A config of the other study, that of the study but for the changes."""
    config = yaml.safe_load((tree / "config/tiny.yaml").read_text())
    (tree / "config/tiny2.yaml").write_text(yaml.safe_dump(config | changes))


@pytest.mark.parametrize(
    ("put", "seed", "rebuilt"),
    [(shutil.copytree, 0, False), (shutil.copytree, 1, False), (shutil.copytree, 1, True), (os.rename, 0, True)],
)
def test_a_folder_that_was_copied_or_renamed_is_made_anew(put, seed, rebuilt, tree, planned) -> None:
    """Its receipts name other files. Old: data, subsets and whatever has no inputs were believed, with any seed."""
    put(tree / HOME, tree / OTHER)
    configured(tree, seed=seed)
    if rebuilt:
        forget(tree)
    assert planned(tree, "tiny2") == planned(tree, "--forceall", "tiny2") != set()
    assert planned(tree, "tiny") == (set() if put is shutil.copytree else planned(tree, "--forceall", "tiny"))


def test_without_its_records_the_study_is_believed_and_another_seed_is_not(tree, configure, planned) -> None:
    forget(tree)
    assert planned(tree, "tiny") == set()
    configure(lambda study: study.update(seed=1))
    assert planned(tree, "tiny") == planned(tree, "--forceall", "tiny")
    forget(tree)
    assert planned(tree, "tiny") == planned(tree, "--forceall", "tiny")


@pytest.mark.parametrize(("name", "rebuilt"), [(TRACKED[0], False), (TRACKED[0], True), (TRACKED[1], False)])
def test_an_older_file_of_other_bytes_is_noticed(name, rebuilt, tree, planned) -> None:
    text = (tree / name).read_text()
    older(tree / name, f"{text}# More.\n" if name.endswith("yaml") else text.replace("1", "2", 1))
    if rebuilt:
        forget(tree)
    assert planned(tree) == {"tables"}
    older(tree / name, text)
    assert planned(tree) == set()


def test_a_command_that_was_edited_when_records_were_lost(tree, edit, planned) -> None:
    forget(tree)
    edit("workflow/rules/summary.smk", '" --numbers {input.numbers}"\n', '"  --numbers {input.numbers}"\n')
    assert planned(tree) == {"tables"}
    edit("workflow/rules/summary.smk", '"  --numbers {input.numbers}"\n', '" --numbers"\n        " {input.numbers}"\n')
    assert planned(tree) == set()  # how it is laid out is not what the shell is given


def test_a_command_that_cannot_be_read_is_refused(tree, edit, snakemake) -> None:
    edit(
        "workflow/rules/summary.smk",
        '"python -m attribution.steps.tables"',
        '"nice python -m attribution.steps.tables"',
    )
    done = snakemake(tree, "-n")
    assert (done.status, "Traceback" in done.text) == (1, False)
    assert "summary.smk: a shell: that is not plain strings that call a step" in done.text


def spoil(path: Path) -> None:
    """One byte, at the same size and time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["scores.safetensors", "receipt.json"])
def test_what_was_edited_in_place_is_made_again(name, tree, planned) -> None:
    assert planned(tree) == set()
    spoil(tree / HOME / PIXELS / name)
    assert planned(tree) == read_by("score_similarity/full_pixel_l2")


def test_results_of_another_method_put_in_its_place_are_not_believed(tree, planned) -> None:
    shutil.rmtree(tree / HOME / PIXELS)
    shutil.copytree(tree / HOME / "scores/full/random", tree / HOME / PIXELS)
    assert planned(tree) == read_by("score_similarity/full_pixel_l2")


def test_large_files_may_be_deleted_and_receipts_may_not(tree, planned) -> None:
    folder = tree / HOME / PIXELS
    (folder / "scores.safetensors").unlink()
    forget(tree)
    assert planned(tree) == set()
    (folder / receipt.NAME).unlink()
    assert planned(tree) == read_by("score_similarity/full_pixel_l2")
    readers = ("lds/pixel_l2", "prefilter/all", "overestimate/all", "prevalence/all", "summary/figures")
    assert believe.doubts(tree, "tiny").keys() == {f"{HOME}/{name}" for name in readers}


def test_of_deleted_files_a_change_of_settings_is_noticed(tree, configure, planned) -> None:
    for path in (tree / HOME / "gradients").rglob("*.safetensors"):
        path.unlink()
    configure(lambda study: study["gradients"].update(draws=5))
    with_receipts = planned(tree)
    shutil.rmtree(tree / HOME / "gradients")
    assert planned(tree) == with_receipts >= {"gradients/full_train_loss_000_019", "lds/trak", "numbers"}


def test_a_package_beside_a_module_is_refused(tree, snakemake) -> None:
    """Python imports the package. Old: its code ran under the fingerprint of the module, which nobody ran."""
    package = tree / "src/attribution/methods/similarity"
    package.mkdir()
    (package / "__init__.py").write_text("def score(*_, **__):\n    raise SystemExit\n")
    done = snakemake(tree, "-n")
    assert (done.status, "Traceback" in done.text) == (1, False)
    assert "attribution.methods.similarity: is there twice" in done.text


KILLED = {  # its folder, an edit after which it runs, and what is to run when it was killed
    "unlearn": (
        "unlearned/mirrored/all",
        lambda study: study["unlearning"]["kinds"]["mirrored"].update(max_steps=3),
        {"unlearn/mirrored_all", "score_unlearning/full_mucs", "lds/mucs", "prefilter"} | SCORED,
    ),
    "score": (
        "scores/full/tracin",
        lambda study: study["checkpoints"].update(draws=3),
        {"score_checkpoints/full_tracin", "lds/tracin"} | SCORED,
    ),
    "lds": (
        "draws/lds",
        lambda study: study["draws_sweep"].update(draws=[3, 4]),
        {"lds_draws", "figures"},
    ),
}


@pytest.fixture(scope="module")
def contents(untimed: Callable[[object], object]) -> Callable[[Path], dict[str, object]]:
    """Each job's spec by its folder; SHA-256 of each output, of JSON what is no time; logs of training hold times."""

    def read(tree: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in (tree / HOME).rglob(receipt.NAME):
            entry = receipt.read(path.parent)
            found[path.parent.relative_to(tree).as_posix()] = entry["spec"]
            for item in entry["outputs"]:
                if item["path"].endswith(".json"):
                    found[item["path"]] = untimed(json.loads((tree / item["path"]).read_text()))
                elif not item["path"].endswith(".jsonl"):
                    found[item["path"]] = item["sha256"]
        return found

    return read


@pytest.mark.parametrize("job", KILLED)
def test_a_job_that_is_killed_alone_after_an_edit(
    job, tree, tmp_path, configure, planned, contents, snakemake, environment
) -> None:
    """By SIGKILL, and then by SIGTERM. Snakemake stays alive, removes the outputs and enters the job as if it had run.
    Old: what was made before the edit of what is gone was believed, by this plan and all that followed.
    """
    folder, change, left = KILLED[job]
    configure(change)
    undisturbed = Path(shutil.copytree(tree, tmp_path / "undisturbed"))
    assert snakemake(undisturbed, "--cores", "2", "tiny").status == 0
    shell = Path(environment["BASH_ENV"])
    text = shell.read_text()
    for signal in ("KILL", "TERM"):
        kill = f'case "$* " in *"--out {HOME}/{folder} "*) kill -{signal} $$; sleep 9;; esac;'
        shell.write_text(text.replace("python() {", f"python() {{ {kill}"))
        try:
            assert snakemake(tree, "--cores", "1", "tiny").status == 1
        finally:
            shell.write_text(text)
        assert planned(tree) == left
    assert snakemake(tree, "--cores", "2", "tiny").status == 0
    assert contents(tree) == contents(undisturbed)
    assert planned(tree) == set()
