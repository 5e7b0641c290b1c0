"""Spot checks by execution: jobs drawn at random run again from their receipts, and what they write is compared.

A job runs in a scratch folder, from the very inputs that its receipt names, with the code, spec and packages that it
names; nothing in results/ is touched. If d of N jobs would not reproduce, k drawn without replacement all pass with
probability C(N - d, k) / C(N, k): the bound that k passes give is the largest d for which that is above 5 %.
"""

import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import chain, receipt
from attribution.provenance.compare import difference
from attribution.provenance.ledger import Ledger
from attribution.workflow import fingerprint
from attribution.workflow.spec import canonical, lock_hash

DOUBT = 0.05
Runner = Callable[[list[str], Path, dict[str, str]], tuple[int, str]]


@dataclass(frozen=True)
class Again:
    """One job that ran again: what was wrong, None where all its outputs are the same by their classes."""

    folder: str
    problem: str | None
    exact: bool  # every output the same byte for byte


def drawable(ledger: Ledger) -> tuple[list[str], dict[str, str]]:
    """The jobs that can run again here, and for each other one why it cannot."""
    lock, codes = lock_hash(ledger.root), {}
    able, unable = [], {}
    for folder in sorted(chain.current(ledger) & ledger.receipts.keys()):
        entry = ledger.receipts[folder]
        roots = fingerprint.roots(entry["step"], entry["spec"].get("job", {}).get("method"))
        if roots not in codes:
            codes[roots] = _code(ledger.root, roots)
        if codes[roots] != entry["code"]["hash"]:
            unable[folder] = "its code has changed since"
        elif entry["environment"]["lock"]["hash"] != lock:
            unable[folder] = "other packages are pinned now"
        elif not all(_present(ledger.root, item) for item in [*entry["inputs"], *entry["outputs"]]):
            unable[folder] = "its inputs or outputs are absent, or not as its receipt says"
        else:
            able.append(folder)
    return able, unable


def draw(folders: list[str], count: int, seed: int) -> list[str]:
    """`count` jobs, or all there are, without replacement. Raises StudyError where there are none."""
    if not folders:
        raise StudyError("no job can run again here: pull its files, and check out the commit that its receipts name")
    return random.Random(seed).sample(folders, min(count, len(folders)))


def rerun(ledger: Ledger, folders: list[str], run: Runner) -> Iterator[Again]:
    """Run each job again, one after the other, and compare its outputs; the first difference is its problem."""
    for folder in folders:
        entry = ledger.receipts[folder]
        with tempfile.TemporaryDirectory(prefix="attribution-") as scratch:
            out = Path(scratch, *Path(folder).parts)
            environment = os.environ | {
                "PYTHONPATH": str(ledger.root / "src"),
                "OMP_NUM_THREADS": str(entry["environment"].get("threads", 1)),
            }
            status, said = run(command(entry, out), ledger.root, environment)
            if status:
                yield Again(folder, f"exit status {status}: {said}", False)
                continue
            problems, exact = _compare(ledger.root, entry, out)
            yield Again(folder, problems[0] if problems else None, exact)


def command(entry: dict[str, Any], out: Path) -> list[str]:
    """The command of a receipt's job, as its rule wrote it, with another folder to write to."""
    inputs: dict[str, list[str]] = {}
    for item in entry["inputs"]:
        inputs.setdefault(item["name"], []).append(item["path"])
    words = [sys.executable, "-m", f"{fingerprint.PACKAGE}.steps.{entry['step']}", "--out", str(out)]
    for name, paths in inputs.items():
        words += [f"--{name}", *paths]
    identity = {"spec": canonical(entry["spec"]), "code": entry["code"]["hash"]}
    for name, value in (identity | {"lock": entry["environment"]["lock"]["hash"]}).items():
        words += [f"--{name}", value]
    return words


def execute(words: list[str], root: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command; its status and the last line that it said."""
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def bound(population: int, passed: int) -> int:
    """The largest number of jobs that may fail to reproduce where all `passed` drawn ones did, with 95 % confidence."""
    whole = math.comb(population, passed)
    return max(d for d in range(population - passed + 1) if math.comb(population - d, passed) > DOUBT * whole)


def _compare(root: Path, entry: dict[str, Any], out: Path) -> tuple[list[str], bool]:
    problems, exact = [], True
    for item in entry["outputs"]:
        again = out / Path(item["path"]).name
        if not again.is_file():
            return [f"{item['path']}: was not written"], False
        same = receipt.sha256(again) == item["sha256"]
        exact = exact and same
        if not same and (problem := difference(root / item["path"], again, item["class"])):
            problems.append(f"{item['path']} ({item['class']}): {problem}")
    made = receipt.read(out)
    if made["id"] != entry["id"]:
        problems.append(f"its receipt has another id, {made['id'][:12]}")
    return problems, exact


def _present(root: Path, item: dict[str, Any]) -> bool:
    path = root / item["path"]
    return path.is_file() and receipt.sha256(path) == item["sha256"]


def _code(root: Path, roots: tuple[str, ...]) -> str | None:
    try:
        return fingerprint.fingerprint(*roots, root=root / "src").hash
    except StudyError:
        return None  # a module that is no longer there
