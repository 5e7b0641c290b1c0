"""Methods declare themselves: what is read of their modules, what is refused, and that labels are no code."""

from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.workflow import registry
from attribution.workflow.fingerprint import file_hash

GOOD = """
import torch_that_is_not_there

FAMILY = {
    "family": "Mine",
    "reads": "gram",
    "settings": {"power": {"type": "number", "description": "of the norm", "default": 2.0}},
    "methods": {
        "one": {"label": "One", "about": "a", "score": "s", "source": "x", "variants": {"big": "One, big"}},
        "one_two": {
            "label": "Two", "about": "a", "score": "s", "source": "x", "family": "Other",
            "formerly": {"old": {"": "Old"}},
            "settings": {"power": {"default": 3.0}, "base": {"type": "integer", "description": "b"}},
        },
    },
}


def one(gram, settings):
    return gram["query_train"]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / registry.FOLDER
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "mine.py").write_text(GOOD)
    return tmp_path


def test_declarations_are_read_without_an_import(root: Path) -> None:
    one, two = registry.methods(root).values()
    assert (one.name, one.module, one.reads, one.family) == ("one", "mine", "gram", "Mine")
    assert (two.family, two.settings["power"]) == (
        "Other",
        {"type": "number", "description": "of the norm", "default": 3.0},
    )
    assert one.settings["power"]["default"] == 2.0


@pytest.mark.parametrize(
    ("name", "of"), [("one", "one"), ("one_big", "one"), ("one_two", "one_two"), ("one_two_three", "one_two")]
)
def test_a_variant_is_of_the_longest_start_word_by_word(root: Path, name: str, of: str) -> None:
    assert registry.method(name, root).name == of


@pytest.mark.parametrize("name", ["onetwo", "two", "on"])
def test_an_unknown_method_is_one_line(root: Path, name: str) -> None:
    with pytest.raises(StudyError, match=f"method {name}: .*none of one, one_two"):
        registry.method(name, root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FAMILY = {", "OTHER = {", "mine.py: must begin with FAMILY = "),
        ('"default": 2.0', '"default": float(2)', "mine.py: FAMILY is not made of literals"),
        ('"reads": "gram"', '"reads": "grams"', "reads: 'grams' is none of images, gram"),
        ('"family": "Mine",', "", "FAMILY: family missing"),
        ('"label": "One", ', "", "methods: one: label missing"),
        ('"label": "One"', '"lable": "One", "label": "One"', "methods: one: lable unknown"),
        ("def one(", "def one((", "mine.py:.*not valid Python"),
    ],
)
def test_a_faulty_declaration_is_one_line(root: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) >= 1
    (root / registry.FOLDER / "mine.py").write_text(GOOD.replace(old, new))
    with pytest.raises(StudyError, match=message):
        registry.methods(root)


def test_two_modules_cannot_declare_one_name(root: Path) -> None:
    (root / registry.FOLDER / "other.py").write_text(GOOD)
    with pytest.raises(StudyError, match="other.py: one is declared in mine.py already"):
        registry.methods(root)


def test_declarations_are_no_code(root: Path) -> None:
    """A label changed the fingerprint of every score of its module while it was hashed with the rest."""
    path = root / registry.FOLDER / "mine.py"
    before = file_hash(path)
    path.write_text(GOOD.replace("One, big", "One, larger") + "\n")
    assert file_hash(path) == before
    path.write_text(GOOD.replace('gram["query_train"]', '-gram["query_train"]') + "\n\n")
    assert file_hash(path) != before


@pytest.mark.parametrize(
    ("name", "label", "family"),
    [
        ("trak", "TRAK", "Kernels"),
        ("trak_count", "TRAK, count-sketch", "Kernels"),
        ("trak_my_own", "TRAK (my own)", "Kernels"),
        ("abu_plus_mine", "AbU+ (mine)", "Unlearning"),
        ("ekfac_loss_at_500", "EK-FAC of loss at t = 500", "EK-FAC"),
        ("ensemble_ekfac_loss", "EK-FAC, loss split, ensemble", "EK-FAC"),
        ("ensemble_stack", "Ensemble stack", "Combined"),
        ("exact_ggn_loss", "Exact GGN, loss split", "Curvature"),
        ("nothing", "nothing", "Other"),
    ],
)
def test_labels_and_families(name: str, label: str, family: str) -> None:
    assert (registry.label(name), registry.family(name)) == (label, family)


def test_every_method_is_computed_by_a_function() -> None:
    """Of its name, or `score`: a declaration without one would fail when its job runs."""
    for found in registry.methods().values():
        text = (registry.SOURCE / registry.FOLDER / f"{found.module}.py").read_text(encoding="utf-8")
        assert f"\ndef {found.name}(" in text or "\ndef score(" in text, found.name
