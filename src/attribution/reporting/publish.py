"""Copy a finished study's results to where git keeps them: results/published/<study>/.

The copies are made outside the DAG, so a fresh clone still has every job to do (DESIGN D8). A study is published whole
or not: every number must point to a metric file that is what its receipt says, and that receipt must be the one named.
"""

import shutil
from collections import defaultdict
from pathlib import Path

from attribution.core.store import load_json, save_json
from attribution.errors import StudyError
from attribution.provenance import receipt
from attribution.reporting.numbers import Number, Numbers, assemble, cost_numbers, number
from attribution.reporting.readme import prefixed
from attribution.reporting.tables import peers_markdown

PLACE = Path("results", "published")
DEFAULT = "digits"  # the study whose numbers README names without a prefix
COPIED = ("claims", "targets")  # tables that README takes as they were published
PEERS = PLACE / "benchmarks" / "peers.csv"
SUMMARY = {"numbers": "", "tables": "tables", "figures": "figures"}  # folder of the summary -> folder published
OPTIONAL = ("ablation",)  # folders of the summary that some studies have, published under their names


def publish(root: Path, study: str) -> list[str]:
    """Write results/published/<study>: numbers, tables, figures, receipts. Returns warnings, one line each.

    Raises StudyError where the study is not finished, or a number does not agree with its receipt.
    """
    source, target = root / "results" / study, root / PLACE / study
    receipts = {path.parent: receipt.read(path.parent) for path in sorted(source.glob(f"**/{receipt.NAME}"))}
    for part in SUMMARY:
        if source / "summary" / part not in receipts:
            raise StudyError(f"results/{study}: not finished (no summary/{part}); run: snakemake --cores all {study}")
    numbers = load_json(source / "summary/numbers/numbers.json")
    for key, entry in numbers.items():
        _check(root, key, entry)
    numbers = assemble([numbers, _costs(receipts, source)])

    staged = target.with_name(f".{study}.part")
    shutil.rmtree(staged, ignore_errors=True)
    present = {part: part for part in OPTIONAL if source / "summary" / part in receipts}
    for part, folder in (SUMMARY | present).items():
        for path in sorted((source / "summary" / part).iterdir()):
            if path.name != receipt.NAME:
                (staged / folder).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, staged / folder / path.name)
    save_json(staged / "numbers.json", numbers)
    for folder in receipts:
        copy = staged / "receipts" / folder.relative_to(source) / receipt.NAME
        copy.parent.mkdir(parents=True)
        shutil.copyfile(folder / receipt.NAME, copy)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)

    commits = {entry["run"]["commit"] for entry in receipts.values()}
    dirty = sum(bool(entry["run"]["dirty"]) for entry in receipts.values())
    warnings = [f"{dirty} of {len(receipts)} jobs ran on a tree with uncommitted changes"] if dirty else []
    return warnings + ([f"jobs ran at {len(commits)} different commits"] if len(commits) > 1 else [])


def published(root: Path) -> Numbers:
    """All published numbers: the default study's by their ids, the others' as study/id."""
    found: Numbers = {}
    for path in sorted((root / PLACE).glob("*/numbers.json")):
        numbers = load_json(path)
        found |= numbers if path.parent.name == DEFAULT else prefixed(path.parent.name, numbers)
    return found


def tables(root: Path) -> dict[str, str]:
    """Published tables as Markdown by their names in README: `claims`, `<study>/claims`, ..., and `peers`."""
    found = {}
    for name in COPIED:
        for path in sorted((root / PLACE).glob(f"*/tables/{name}.md")):
            study = path.parents[1].name
            text = path.read_text(encoding="utf-8").rstrip("\n")
            found[name if study == DEFAULT else f"{study}/{name}"] = text
    if (root / PEERS).is_file():
        found["peers"] = peers_markdown((root / PEERS).read_text(encoding="utf-8"))
    return found


def _check(root: Path, key: str, entry: Number) -> None:
    """The number's source is the file that its receipt lists, byte for byte."""
    path = root / entry["source"]
    record = receipt.read(path.parent)
    if record["id"] != entry["receipt"]:
        raise StudyError(f"{key}: {entry['source']} was made by another job than the number says; run the study again")
    listed = {output["path"]: output["sha256"] for output in record["outputs"]}
    if not path.is_file() or receipt.sha256(path) != listed.get(entry["source"]):
        raise StudyError(f"{key}: {entry['source']} is not what its receipt says (edited or missing)")


def _costs(receipts: dict[Path, dict], source: Path) -> Numbers:
    """Seconds by step, and the part of all jobs' time that went to starting and importing."""
    seconds: dict[str, float] = defaultdict(float)
    jobs: dict[str, int] = defaultdict(int)
    last: dict[str, str] = {}
    for entry in receipts.values():
        seconds[entry["step"]] += entry["run"]["seconds"]
        jobs[entry["step"]] += 1
        last[entry["step"]] = entry["id"]
    place = f"results/{source.name}/**/receipt.json"
    found = cost_numbers(seconds, jobs, place, last)
    walls = [float(path.read_text().splitlines()[1].split("\t")[0]) for path in sorted(source.glob("logs/**/*.tsv"))]
    if len(walls) == len(receipts):
        overhead = 1 - sum(seconds.values()) / sum(walls)
        found["cost.overhead.share"] = number(overhead, None, {"jobs": len(walls)}, "share", place, last["numbers"])
    return found
