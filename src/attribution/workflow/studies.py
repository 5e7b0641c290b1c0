"""The studies of a tree: one for each file of config/ that has the name of a study and can be read as one.

A study is config/<name>.yaml. Its name stands in paths and is a target, so it has small letters, digits and _, begins
with a letter, and is no rule, `all`, or group that it is not a member of. Hidden files, which editors and macOS leave,
are no studies. A file that cannot be read as a study is an error for who asks for it, and a warning for everyone
else.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from attribution.errors import StudyError
from attribution.workflow import config as configs
from attribution.workflow.paths import STUDY
from attribution.workflow.spec import nearest

NOT_STUDIES = ("config", "claims")  # files in config/ that describe none
Groups = Mapping[str, list[str]]  # targets that stand for several studies
_RULE = re.compile(r"^rule (\w+):", re.MULTILINE)


class Studies(dict[str, dict[str, Any]]):
    """Name -> config of the studies that can be read; `broken` says what is wrong with the others.

    Who asks for another one ends the process, with one line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, str] = {}

    def add(self, name: str, load: Callable[[], dict[str, Any]]) -> None:
        """Keep what is loaded, or why it is not."""
        try:
            self[name] = load()
        except StudyError as error:
            self.broken[name] = " ".join(str(error).split())

    def __missing__(self, name: str) -> NoReturn:
        sys.exit(self.broken.get(name) or f"{name}: no such study; {nearest(name, list(self))}(config/{name}.yaml)")

    def ask(self, names: Iterable[str]) -> None:
        """End the process where one of the names is of a broken study; warn of the other broken ones."""
        for name in names:
            if name in self.broken:
                sys.exit(self.broken[name])
        for line in self.broken.values():
            print(f"warning: {line} (no study of this name)", file=sys.stderr)


def files(root: Path) -> dict[str, Path]:
    """Name -> file of what is meant as a study, in alphabetical order, good names and bad ones."""
    listed = sorted(path for ending in ("yaml", "yml") for path in root.glob(f"config/*.{ending}"))
    return {path.stem: path for path in listed if not path.name.startswith(".") and path.stem not in NOT_STUDIES}


def check_name(root: Path, path: Path, groups: Groups) -> None:
    """Raises StudyError where a file in config/ cannot be a study by its name, with the rule."""
    rules = [name for file in root.glob("workflow/rules/*.smk") for name in _RULE.findall(file.read_text("utf-8"))]
    others = [name for name, members in groups.items() if name not in members]
    taken = path.stem in ("all", *NOT_STUDIES, *others, *rules)
    placed = path.parent == root / "config" and path.suffix == ".yaml"
    if placed and re.fullmatch(STUDY, path.stem) and not taken:
        return
    rule = "write <name>.yaml, of small letters, digits and _, a letter first, and no rule, group, `all` or `config`"
    raise StudyError(f"{path}: {path.name} is no name of a study: {rule}")


def load(root: Path, schema: Path, groups: Groups) -> Studies:
    """All studies in config/."""
    found = Studies()
    for name, path in files(root).items():

        def one(path: Path = path) -> dict[str, Any]:
            check_name(root, path, groups)
            return configs.load(path, schema)

        found.add(name, one)
    return found
