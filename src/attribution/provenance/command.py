"""The commands `audit`, `why` and `cost`: what is asked for, what is printed, and the exit status."""

import json
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import audit, chain, files, rerun, tree, values
from attribution.provenance import why as reasons
from attribution.provenance.audit import Audit
from attribution.provenance.cost import by_rule, table
from attribution.provenance.ledger import PUBLISHED, is_published, load, published_studies
from attribution.provenance.page_marks import DEFAULT
from attribution.workflow import plan
from attribution.workflow.spec import nearest

NUMBER = re.compile(r"(?:(?P<study>[a-z][a-z0-9_]*)/)?(?P<key>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+){1,3})")
STUDY = re.compile(r"[a-z][a-z0-9_]*")
Look = Callable[[Path, str, bool], Audit]  # audit.audit of root, study and whether it is the published one


def run(root: Path, target: str | None, look: Look, machine: bool) -> int:
    """Print what `look` found; 0 where every link holds, else 1 with the first broken link on stderr.

    Raises StudyError where there is nothing of that name.
    """
    if target is None:
        studies = published_studies(root)
        if not studies:
            raise StudyError(f"{PUBLISHED}: no study is published here; name one that has run: audit <study>")
        return _tell([look(root, study, True) for study in studies], machine)
    if (match := NUMBER.fullmatch(target)) and not (root / target).exists():
        return _number(root, match["study"] or DEFAULT, match["key"], look, machine)
    if STUDY.fullmatch(target) and not (root / target).exists():
        return _tell([look(root, target, is_published(root, target))], machine)
    return _path(root, target, look, machine)


def again(root: Path, target: str | None, count: int, seed: int | None, machine: bool) -> int:
    """Run `count` jobs of the study in results/ again; 0 where all reproduce. Raises StudyError where none can run."""
    study = target or DEFAULT
    if not STUDY.fullmatch(study) or count < 1:
        raise StudyError("--rerun K: needs a study, as in `audit digits --rerun 3`, and at least one job")
    ledger = load(root, study, published=False)
    able, unable = rerun.drawable(ledger)
    seed = secrets.randbits(32) if seed is None else seed
    drawn = rerun.draw(able, count, seed)
    found = []
    if not machine:
        print(f"{study}: {len(drawn)} of {len(able)} jobs run again (seed {seed})")
        for reason in sorted(set(unable.values())):
            print(f"  not drawn from: {list(unable.values()).count(reason)} jobs, {reason}")
    for one in rerun.rerun(ledger, drawn, rerun.execute):
        found.append(one)
        if not machine:
            said = "byte for byte the same" if one.exact else "the same within its classes"
            print(f"  {one.folder}: {said if one.problem is None else f'BROKEN {one.problem}'}", flush=True)
    failed = [one for one in found if one.problem is not None]
    most = None if failed else rerun.bound(len(able), len(found))
    if machine:
        jobs = [vars(one) for one in found]
        said = {"study": study, "seed": seed, "ok": not failed, "jobs": jobs, "drawable": len(able)}
        print(json.dumps(said | {"not_drawable": unable, "at_most_failing": most}, indent=2))
    elif not failed:
        print(f"  all passed: with 95 % confidence at most {most} of these {len(able)} jobs would not reproduce")
    if failed:
        print(f"attribution: {failed[0].folder} did not reproduce: {failed[0].problem}", file=sys.stderr)
    return 1 if failed else 0


def why(root: Path, targets: list[str], machine: bool) -> int:
    """Print what would run and why; 0 also where that is something. Raises StudyError where there is no plan."""
    jobs = reasons.explain(root, plan.dry_run(root, targets))
    print(json.dumps(reasons.record(jobs), indent=2) if machine else reasons.text(jobs))
    return 0


def cost(root: Path, study: str, machine: bool) -> int:
    """Print what a study cost, by the receipts here, or those published. Raises StudyError where there are none."""
    ledger = load(root, study, published=not (root / "results" / study).is_dir())
    costs = by_rule(ledger, plan.memory(root, study))
    print(json.dumps([vars(one) for one in costs], indent=2) if machine else table(costs))
    return 0


def _number(root: Path, study: str, key: str, look: Look, machine: bool) -> int:
    found = look(root, study, is_published(root, study))
    if key not in found.ledger.numbers:
        known = nearest(key, list(found.ledger.numbers))
        place = found.ledger.shown(found.ledger.numbers_path())
        raise StudyError(f"{key}: no number of the study {study}; {known}all of them: {place}")
    found.faults = [fault for fault, spoiled in found.spoiled() if key in spoiled]
    return _one(found, tree.of_number(found, key), values.roots(found.ledger, key), {"number": key}, machine)


def _path(root: Path, target: str, look: Look, machine: bool) -> int:
    """A file or folder of a study, published or not: results/<study>/... or results/published/<study>/..."""
    path = (root / target).resolve()
    if not path.is_relative_to(root.resolve() / "results"):
        raise StudyError(f"{target}: neither a number, a study nor a path in results/")
    words = path.relative_to(root.resolve() / "results").parts
    published = words[:1] == ("published",)
    words = words[1:] if published else words
    if not words:
        return run(root, None, look, machine)
    study, inner = words[0], list(words[1:])
    here = published or not (root / "results" / study).is_dir()
    found = look(root, study, here)
    if not inner:
        return _tell([found], machine)
    if published:
        places = {"tables": ["summary", "tables"], "figures": ["summary", "figures"], "receipts": [], "metrics": []}
        inner = places.get(inner[0], ["summary", "numbers"]) + (inner[1:] if inner[0] in places else [])
    at = "/".join([found.ledger.home, *inner]).removesuffix("/receipt.json")
    jobs = {folder for folder in found.ledger.receipts if folder == at or folder.startswith(f"{at}/")}
    start = at if at in found.ledger.receipts or not jobs else ""
    if not jobs and chain.parent(at) not in found.ledger.receipts:
        where = found.ledger.shown(found.ledger.shelf)
        raise StudyError(f"{target}: no receipt in {where} tells of it; its job did not run here")
    above = chain.above(found.ledger, jobs or {chain.parent(at)})
    found.faults = [fault for fault in found.faults if fault.folder in above]
    shown = [tree.of_path(found, job) for job in ([start] if start else sorted(jobs))]
    return _one(found, "\n".join(shown), jobs or {chain.parent(at)}, {"path": target}, machine)


def _one(found: Audit, shown: str, starts: set[str], what: dict[str, str], machine: bool) -> int:
    if machine:
        print(json.dumps(what | _broken(found) | {"chain": tree.graph(found, starts)}, indent=2))
    else:
        print(shown)
        above = chain.above(found.ledger, starts)
        absent = [p for p, state in found.states.items() if state == files.ABSENT and chain.parent(p) in above]
        for fault in found.faults:
            print(f"BROKEN {fault.where}: {fault.what}")
        print(f"level: {found.level}" + (f"; {len(absent)} files of the chain are absent here" if absent else ""))
    return _status([found])


def _broken(found: Audit) -> dict[str, Any]:
    said = audit.record(found)
    return {key: said[key] for key in ("study", "published", "level", "ok", "broken")}


def _tell(all_found: list[Audit], machine: bool) -> int:
    if machine:
        said = [audit.record(found) for found in all_found]
        print(json.dumps({"ok": all(one["ok"] for one in said), "studies": said}, indent=2))
    else:
        print("\n".join(audit.text(found) for found in all_found))
    return _status(all_found)


def _status(all_found: list[Audit]) -> int:
    faults = [fault for found in all_found for fault in found.faults]
    if faults:
        print(f"attribution: broken link: {faults[0].where}: {faults[0].what}", file=sys.stderr)
    return 1 if faults else 0
