"""How long the commands take that are run before and after everything else: the dry run of every study, and the audit.

CPU seconds of the whole command, as others may be at work on the machine, beside those of `snakemake --version` in the
same run: what a plan costs above the import of Snakemake is what the project's rules and their number cost.

    python benchmarks/plans.py

prints a table in Markdown, and writes nothing.
"""

import re
import subprocess
import sys
from os import times
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_STUDIES = ("config", "claims")


def measured(*arguments: str) -> tuple[float, str]:
    """CPU seconds of `python -m ARGUMENTS` and what it printed."""
    before = times()
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout
    after = times()
    return sum(after[2:4]) - sum(before[2:4]), done


def main() -> None:
    studies = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if path.stem not in NOT_STUDIES)
    base, _ = measured("snakemake", "--version")
    print("| Command | Jobs | CPU seconds | times `snakemake --version` |\n| :-- | --: | --: | --: |")
    asked = {"the published studies": [], **{study: [study] for study in studies}, "all studies": studies}
    for what, targets in asked.items():
        seconds, plan = measured("snakemake", "--forceall", "-n", *targets)
        jobs = re.search(r"^total +(\d+)$", plan, re.MULTILINE)[1]
        print(f"| `snakemake -n`, {what} | {jobs} | {seconds:.1f} | {seconds / base:.1f} |")
    seconds, _ = measured("attribution", "audit", "--all", "--chain")
    print(f"| `attribution audit --all` | | {seconds:.1f} | {seconds / base:.1f} |")


if __name__ == "__main__":
    main()
