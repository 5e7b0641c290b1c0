"""What the jobs of a rule ask for at their first attempt: read from the rules, and from the study's config.

A rule names itself and a number, as `mem_mb=need("mem_mb", "pool", 1000)`, or no number where it asks for the study's
own, as `mem_mb=need("mem_mb", "train")`; resources.rules of a config can name a rule's own (workflow/inputs.py).
Standard library only, as all that an audit needs.
"""

import re
from pathlib import Path

RULE = re.compile(r"^rule \w+:\n((?:[ \t]+.*\n|\n|[#)].*\n)*)", re.MULTILINE)
STEP = re.compile(r"python -m attribution\.steps\.(\w+)")
MEMORY = re.compile(r'^ +mem_mb=need\("mem_mb"(?:, "(?P<rule>\w+)"(?:, (?P<fixed>\d+))?)?\),$', re.MULTILINE)
NUMBER = re.compile(r"\bmem_mb: *(\d+)")
RESOURCES = re.compile(r"^resources:(.*\n(?:[ \t]+.*\n)*)", re.MULTILINE)  # in a config, on one line or on several


def memory(root: Path, study: str) -> dict[str, int]:
    """Megabytes by step; empty where the study or the rules are not there any more."""
    config = root / "config" / f"{study}.yaml"
    section = RESOURCES.search(config.read_text(encoding="utf-8") + "\n") if config.is_file() else None
    resources = section[1] if section else ""
    own = dict(re.findall(r"(\w+): *\{([^{}]*)\}", resources.partition("rules:")[2]))
    general = NUMBER.search(resources.partition("rules:")[0])
    found = {}
    for path in sorted((root / "workflow/rules").glob("*.smk")):
        for rule in RULE.finditer(path.read_text(encoding="utf-8")):
            step, asked = STEP.search(rule[1]), MEMORY.search(rule[1])
            if not step or not asked:
                continue
            special = NUMBER.search(own.get(asked["rule"] or "", ""))
            amount = special[1] if special else asked["fixed"] or (general and general[1])
            if amount:
                found[step[1]] = int(amount)
    return found
