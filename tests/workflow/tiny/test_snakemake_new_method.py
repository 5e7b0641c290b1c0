"""docs/add-a-method.md, run: a method from nothing to its row, and what is refused on the way."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
COLLECT = {"overestimate", "prevalence", "prefilter", "numbers", "tables", "figures"}  # what reads all methods' scores
RULES = {"images": "score_similarity", "gram": "score_gradients", "checkpoints": "score_checkpoints"}
RULES |= {"unlearned": "score_unlearning"}


@pytest.fixture
def documented() -> list[str]:
    """The commands of the page."""
    text = (ROOT / "docs/add-a-method.md").read_text(encoding="utf-8")
    return re.search(r"```\n(.*?)```", text, re.DOTALL)[1].splitlines()


def test_the_page_from_nothing_to_a_row(
    tree: Path, documented: list[str], attribution: Callable[..., SimpleNamespace], snakemake, planned
) -> None:
    new, plan, run = documented
    assert (plan, run) == ("snakemake -n smoke", "snakemake --cores all smoke")
    done = attribution(tree, *new.removeprefix("python -m attribution ").split(), "--study", "tiny")
    assert done.status == 0, done.error
    assert planned(tree, "tiny") == {"score_similarity/full_nearest", "lds/nearest"} | COLLECT
    done = snakemake(tree, "--cores", "2", "tiny")
    assert done.status == 0, done.text
    table = (tree / "results/tiny/summary/tables/lds.md").read_text(encoding="utf-8")
    assert re.search(r"^\| Nearest \| -?0\.\d\d \[", table, re.MULTILINE)


@pytest.mark.parametrize("reads", RULES)
def test_every_start_is_planned_by_its_rule(tree: Path, attribution, snakemake, planned, reads: str) -> None:
    done = attribution(tree, "new", "method", "mine", "--reads", reads, "--study", "tiny")
    assert done.status == 0, done.error
    assert planned(tree, "tiny") == {f"{RULES[reads]}/full_mine", "lds/mine"} | COLLECT
    done = snakemake(tree, "--cores", "2", "results/tiny/scores/full/mine/scores.safetensors")
    assert done.status == 0, done.text


def test_scores_of_another_shape_end_their_own_job(tree: Path, attribution, snakemake) -> None:
    attribution(tree, "new", "method", "mine", "--study", "tiny")
    path = tree / "src/attribution/methods/mine.py"
    path.write_text(re.sub(r"return .*", "return np.zeros((3, 3))", path.read_text()))
    done = snakemake(tree, "--cores", "1", "results/tiny/scores/full/mine/scores.safetensors")
    assert done.status == 1
    assert "mine: its scores are [3, 3]; expected [L, 12, 40] (dampings, queries, training examples)" in done.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Mine"], "Mine: no name for a method"),
        (["trak"], "trak: is trak or a variant of it already"),
        (["trak_mine"], "trak_mine: is trak or a variant of it already"),
        (["mine", "--reads", "gramm"], "--reads gramm: no start to write for it; choose one of images, gram"),
        (["mine", "--study", "tiniest"], "tiniest.yaml: no such study"),
    ],
)
def test_refusals_write_nothing(finished: Path, attribution, words: list[str], message: str) -> None:
    before = sorted((finished / "src/attribution/methods").glob("*.py"))
    done = attribution(finished, "new", "method", *words)
    assert done.status == 1
    assert message in done.error
    assert len(done.error.splitlines()) == 1
    assert sorted((finished / "src/attribution/methods").glob("*.py")) == before
