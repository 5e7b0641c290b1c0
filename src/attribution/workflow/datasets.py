"""Which data sets there are: what the modules of `attribution.data` declare of themselves, read without running them.

A module declares its data sets as one literal, name -> facts (data/digits.py is the shortest example):

    DATASETS = {"digits": {"images": 1797, ...}}

    images           number of images, training and test part together
    channels, size   channels, and [height, width]
    levels           how many values a pixel can take: the bins of the ELBO's last step
    licence, source  as they stand in the data file
    fetched          where the source comes from, as data/download.py reads it; {} where a package ships it
    loader           function of the module: path of the source -> images, labels and parts

The config's schema and rules, the stages that build and what specs hold follow from it. A job's spec holds the facts
that it reads, so another declaration changes no job of a study that is there already.
"""

from functools import cache
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import declarations
from attribution.workflow.fingerprint import PACKAGE, SOURCE
from attribution.workflow.spec import nearest

FACTS = {
    "images": int,
    "channels": int,
    "size": list,
    "levels": int,
    "licence": str,
    "source": str,
    "fetched": dict,
    "loader": str,
}
NAME = "DATASETS"
BYTE = 256  # levels of a pixel of an image file
Declared = dict[str, dict[str, Any]]


def declared(root: Path | str = SOURCE) -> Declared:
    """Name -> the facts and the `module` that declares them, in alphabetical order. Raises StudyError naming the file
    and what is wrong in it.
    """
    return _declared(str(root))


def facts(name: str) -> dict[str, Any]:
    """What is declared of one data set. Raises StudyError for a name that no module declares."""
    known = declared()
    if name not in known:
        raise StudyError(f"data.dataset: {name!r} is not declared in {PACKAGE}/data; {nearest(name, list(known))}")
    return known[name]


def levels(data: dict[str, Any]) -> int:
    """How many values a pixel can take of what a config's section `data` names."""
    return facts(data["dataset"])["levels"] if "dataset" in data else BYTE


@cache
def _declared(root: str) -> Declared:
    found: Declared = {}
    for path in sorted(Path(root, PACKAGE, "data").glob("*.py")):
        for name, given in (declarations.literal(path, NAME) or {}).items():
            if name in found:
                raise StudyError(f"{path}: {name}: declared in {found[name]['module']} already")
            found[name] = _checked(path, name, given) | {"module": f"{PACKAGE}.data.{path.stem}"}
    return dict(sorted(found.items()))


def _checked(path: Path, name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise StudyError(f"{path}: {NAME}[{name!r}]: must be facts ({', '.join(FACTS)})")
    for key, kind in FACTS.items():
        if not isinstance(given.get(key), kind):
            state = "wrong" if key in given else "missing"
            raise StudyError(f"{path}: {NAME}[{name!r}]: {key} is {state}; write its {kind.__name__}")
    if unknown := set(given) - set(FACTS):
        close = nearest(min(unknown), list(FACTS))
        raise StudyError(f"{path}: {NAME}[{name!r}]: {min(unknown)}: unknown; {close}(known: {', '.join(FACTS)})")
    return given
