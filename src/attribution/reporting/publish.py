"""Copy a finished study's results to where git keeps them: results/published/<study>/.

The copies are made outside the DAG, so a fresh clone still has every job to do (DESIGN D8). A study is published whole
or not: it is audited first, every file hashed, and a broken link below its numbers is refused. What is copied is what
an audit needs where nothing else is: numbers, tables, figures, the metric files that numbers come from, the receipts of
all jobs that they were made by, those jobs' wall time, and SHA256SUMS of all that.
"""

import shutil
from collections import defaultdict
from pathlib import Path

from attribution import pointers
from attribution.core.store import load_json, save_json
from attribution.errors import StudyError
from attribution.provenance import chain, receipt, sums, values
from attribution.provenance.audit import audit
from attribution.provenance.ledger import SUMMARY as ENDS
from attribution.reporting import benchmarks
from attribution.reporting.numbers import Numbers, assemble, cost_numbers, number
from attribution.reporting.readme import prefixed

PLACE = Path("results", "published")
DEFAULT = "digits"  # the study whose numbers README names without a prefix
COPIED = {  # tables that pages take as they were published, and where
    "claims": "tables/claims.md",
    "targets": "tables/targets.md",
    "mucs": "tables/mucs.md",
    "ablation": "ablation/ablation.md",
    "contributors": "contributors/contributors.md",
}
BENCHMARKS = PLACE / "benchmarks"
SUMMARY = {"tables": "tables", "figures": "figures"}  # folder of the summary -> folder published
OPTIONAL = ("ablation", "contributors")  # folders of the summary that some studies have, published under their names


def publish(root: Path, study: str) -> list[str]:
    """Write results/published/<study>: numbers, tables, figures, receipts. Returns warnings, one line each.

    Raises StudyError where the study is not finished, or a number does not agree with its receipt.
    """
    source, target = root / "results" / study, root / PLACE / study
    for part in ENDS:
        if not (source / part / receipt.NAME).is_file():
            raise StudyError(f"results/{study}: not finished (no {part}); run: snakemake --cores all {study}")
    found = audit(root, study, published=False)
    for fault, spoiled in found.spoiled():
        if spoiled or fault.folder.startswith(f"results/{study}/summary"):
            raise StudyError(f"{fault.where}: {fault.what}; {len(spoiled)} numbers below it: run the study again")
    receipts = {
        root / folder: found.ledger.receipts[folder]
        for folder in sorted(chain.current(found.ledger) & found.ledger.receipts.keys())
    }
    walls = _walls(receipts, source)
    numbers = assemble([found.ledger.numbers, _costs(receipts, source, walls)])

    staged = target.with_name(f".{study}.part")
    shutil.rmtree(staged, ignore_errors=True)
    present = {part: part for part in OPTIONAL if source / "summary" / part in receipts}
    for part, folder in (SUMMARY | present).items():
        for path in sorted((source / "summary" / part).iterdir()):
            if path.name != receipt.NAME:
                _copy(path, staged / folder / path.name)
    for path in sorted({root / entry["source"] for entry in found.ledger.numbers.values()}):
        _copy(path, staged / "metrics" / path.relative_to(source))
    for folder in receipts:
        _copy(folder / receipt.NAME, staged / "receipts" / folder.relative_to(source) / receipt.NAME)
    save_json(staged / "numbers.json", numbers)
    save_json(staged / values.WALLS, walls)
    sums.write(staged)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)

    commits = {entry["run"]["commit"] for entry in receipts.values()}
    dirty = sum(bool(entry["run"]["dirty"]) for entry in receipts.values())
    warnings = [f"{dirty} of {len(receipts)} jobs ran on a tree with uncommitted changes"] if dirty else []
    warnings += [f"jobs ran at {len(commits)} different commits"] if len(commits) > 1 else []
    return warnings + [f"{fault.where}: {fault.what}" for fault in found.faults]


def _copy(path: Path, target: Path) -> None:
    if not path.is_file():
        raise StudyError(f"{path}: missing, though a number or table was made of it; run the study again")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def published(root: Path) -> Numbers:
    """All published numbers: the default study's by their ids, the others' as study/id."""
    found: Numbers = {}
    for path in sorted((root / PLACE).glob("*/numbers.json")):
        numbers = load_json(path)
        found |= numbers if path.parent.name == DEFAULT else prefixed(path.parent.name, numbers)
    return found


def tables(root: Path) -> dict[str, str]:
    """Published tables as Markdown by their names in pages: `claims`, `<study>/claims`, ..., `peers`, `units`, ..."""
    found = {}
    for name, place in COPIED.items():
        for path in sorted((root / PLACE).glob(f"*/{place}")):
            study = path.parents[1].name
            text = path.read_text(encoding="utf-8").rstrip("\n")
            found[name if study == DEFAULT else f"{study}/{name}"] = text
    for name in benchmarks.TABLES:
        path = root / BENCHMARKS / f"{name}.csv"
        if path.is_file():
            found[name] = benchmarks.markdown(name, path.read_text(encoding="utf-8"))
    return found


def _walls(receipts: dict[Path, dict], source: Path) -> dict[str, float]:
    """Seconds of the jobs' processes, starting and importing included, by folder, where their receipts tell."""
    told = {folder: entry["run"].get("wall_seconds") for folder, entry in receipts.items()}
    return {folder.relative_to(source).as_posix(): wall for folder, wall in told.items() if wall is not None}


def _costs(receipts: dict[Path, dict], source: Path, walls: dict[str, float]) -> Numbers:
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
    if len(walls) == len(receipts):
        overhead = 1 - sum(seconds.values()) / sum(walls.values())
        origin = (place, last["numbers"], pointers.RECEIPTS)
        found["cost.overhead.share"] = number(overhead, None, {"jobs": len(walls)}, "share", *origin)
    return found
