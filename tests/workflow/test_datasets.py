"""Data sets declare themselves: a module alone adds one, changes no job that is there, and is refused by its file."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.errors import StudyError
from attribution.workflow import datasets, plan

MODULE = '''"""A data set of this test."""

DATASETS = {
    "greys": {
        "images": 600,
        "channels": 1,
        "size": [8, 8],
        "levels": 4,
        "licence": "none",
        "source": "made here",
        "fetched": {},
        "loader": "load",
    }
}
'''
LOADER = """

def load(_source):
    import numpy as np

    from attribution.data.dataset import Arrays

    images = np.zeros((600, 1, 8, 8), np.float32)
    return Arrays(images, np.zeros(600, np.int64), np.zeros(600, np.uint8))
"""


def declared(tmp_path: Path, text: str) -> datasets.Declared:
    (tmp_path / "attribution/data").mkdir(parents=True, exist_ok=True)
    (tmp_path / "attribution/data/greys.py").write_text(text)
    datasets._declared.cache_clear()
    return datasets.declared(tmp_path)


def test_a_declaration_is_read_without_running_its_module(tmp_path: Path) -> None:
    found = declared(tmp_path, MODULE + "raise RuntimeError\n")
    assert found["greys"]["levels"] == 4
    assert found["greys"]["module"] == "attribution.data.greys"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"levels": 4,', "", r"greys\.py: DATASETS\['greys'\]: levels is missing; write its int"),
        ('"levels": 4', '"levels": "4"', "levels is wrong; write its int"),
        ('"levels": 4', '"levels": 4, "licens": "x"', "licens: unknown; did you mean licence?"),
        ('"images": 600', '"images": 6 * n', "is not made of literals"),
        ('"images": 600,', '"images" 600,', "not valid Python"),
        ('"greys": {', '"greys": 3, "others": {', r"DATASETS\['greys'\]: must be facts"),
    ],
)
def test_a_wrong_declaration_names_the_file_and_the_fact(tmp_path: Path, old: str, new: str, line: str) -> None:
    with pytest.raises(StudyError, match=line) as caught:
        declared(tmp_path, MODULE.replace(old, new))
    assert "greys.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_declared_twice_or_nowhere_is_refused(tmp_path: Path) -> None:
    declared(tmp_path, MODULE)
    (tmp_path / "attribution/data/other.py").write_text(MODULE)
    datasets._declared.cache_clear()
    with pytest.raises(StudyError, match=r"other\.py: greys: declared in attribution\.data\.greys already"):
        datasets.declared(tmp_path)
    with pytest.raises(StudyError, match=r"data\.dataset: 'digts' is not declared .* did you mean digits\?"):
        datasets.facts("digts")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, working_tree: Callable[[Path], Path]) -> Path:
    return working_tree(tmp_path_factory.mktemp("declared"))


def test_another_data_set_and_study_change_no_job(clone: Path, snakemake: Callable[..., SimpleNamespace]) -> None:
    """With levels, numbers of images or loaders in the code of jobs, each of them would have another fingerprint."""

    def jobs(study: str) -> list[plan.Planned]:
        done = snakemake(clone, "-n", "--printshellcmds", study)
        assert done.status == 0, done.text
        return sorted(plan.parse(done.text), key=lambda job: job.folder)

    before = jobs("smoke")
    (clone / "src/attribution/data/greys.py").write_text(MODULE + LOADER)
    (clone / "config/added.yaml").write_text(
        "data: {dataset: greys, train: 500}\nmeasurement: {quantities: [loss, elbo]}\n"
    )
    assert jobs("smoke") == before
    assert len(before) > 100
    added = jobs("added")
    levels = {job.spec["levels"] for job in added if job.step in ("measure", "gradients")}
    assert levels == {4}
