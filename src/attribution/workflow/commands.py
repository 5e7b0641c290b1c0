"""The command of each step as its rule writes it: part of what the step computes, as flags and inputs stand there.

Read from the text of the rules, so that a job and an audit find it without Snakemake; `check` holds what was read
against what Snakemake runs. How the text is laid out does not count, what the shell is given does.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from attribution.errors import StudyError

SHELL = re.compile(r"^    shell:(.*\n(?:(?: {8}.*)?\n)*)", re.MULTILINE)
STEP = re.compile(r"python -m attribution\.steps\.(\w+)")


def read(root: Path | str) -> dict[str, str]:
    """Step -> command, with its {wildcards}, of the rules under `root`; empty where there are none.

    Raises StudyError where a command is no plain string, or a step stands in two rules.
    """
    found: dict[str, str] = {}
    for path in sorted(Path(root, "workflow/rules").glob("*.smk")):
        for step, command in _commands(path.read_text(encoding="utf-8"), str(path)):
            if step in found:
                raise StudyError(f"{path}: the step {step} is called by two rules; each rule has a step of its own")
            found[step] = command
    return found


def check(root: Path | str, rules: Iterable[Any]) -> None:
    """That Snakemake's rules run just the commands that are read. Raises StudyError naming a rule that does not."""
    known = read(root)
    for rule in rules:
        if rule.shellcmd is not None and known.get(rule.name) != rule.shellcmd:
            raise StudyError(f"rule {rule.name}: its shell: must be plain strings that call the step of its name")


@cache
def _commands(text: str, where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for block in SHELL.finditer(text):
        try:
            command = ast.literal_eval(f"({block[1]})")
            found.append((STEP.match(command)[1], command))
        except (SyntaxError, ValueError, TypeError) as error:
            raise StudyError(f"{where}: a shell: that is not plain strings that call a step") from error
    return tuple(found)
