"""The links between receipts: each id is the hash of what its receipt says, each input an output of the job before it.

From a number the chain goes down through jobs: metric, scores, curvature and models, subsets, and the data set that
dvc.lock pins. A receipt may name an older id of the job before it: a job that was run again, with other code say, and
wrote the same bytes makes no other result, so the next one was not run again. What must agree is the file's SHA-256.
"""

import hashlib
import json
from pathlib import Path

from attribution.provenance import receipt
from attribution.provenance.ledger import NUMBERS, PUBLISHED, Fault, Ledger
from attribution.workflow.dvc import dataset_path, file_md5


def inspect(ledger: Ledger) -> tuple[list[Fault], list[str]]:
    """Faults of receipts and of the links between them, and notes: what is worth saying but breaks nothing."""
    faults, notes = list(ledger.faults), []
    for folder in ledger.receipts:
        faults += [
            Fault(ledger.shown(ledger.receipt_path(folder)), what, folder, True) for what in _own(ledger, folder)
        ]
        links, older = _links(ledger, folder)
        faults += links
        notes += older
        found, said = _dataset(ledger, folder)
        faults += found
        notes += said
    unsealed = sum("seal" not in entry for entry in ledger.receipts.values())
    if unsealed:
        notes.append(f"{unsealed} receipts have no seal (written by an earlier version)")
    return list(dict.fromkeys(faults)), list(dict.fromkeys(notes))


def parent(path: str) -> str:
    """The job folder that a file lies in."""
    return path.rpartition("/")[0]


def above(ledger: Ledger, start: set[str]) -> set[str]:
    """The folders of all jobs that `start` was made from, itself included, whether or not their receipts are there."""
    seen, waiting = set(), list(start)
    while waiting:
        folder = waiting.pop()
        if folder in seen:
            continue
        seen.add(folder)
        if folder in ledger.receipts:
            waiting += [parent(item["path"]) for item in ledger.receipts[folder]["inputs"]]
    return seen


def current(ledger: Ledger) -> set[str]:
    """The jobs that a finished study's summary is made of; all jobs where it has no summary yet.

    A study that was configured otherwise before may have left jobs behind that nothing reads any more.
    """
    ends = {folder for folder in ledger.receipts if folder.startswith(f"{ledger.home}/summary/")}
    return above(ledger, ends) if f"{ledger.home}/{NUMBERS}" in ledger.receipts else set(ledger.receipts)


def outputs(ledger: Ledger, folder: str) -> dict[str, str]:
    """Path -> SHA-256 of what the folder's receipt lists."""
    entry = ledger.receipts.get(folder)
    return {item["path"]: item["sha256"] for item in entry["outputs"]} if entry else {}


def _own(ledger: Ledger, folder: str) -> list[str]:
    """What is wrong with a receipt by itself."""
    entry, found = ledger.receipts[folder], []
    if "seal" in entry and entry["seal"] != receipt.seal(entry):
        found.append("edited: its seal is not the hash of what it says")
    code = entry["code"]
    if hashlib.sha256(json.dumps(code["modules"], sort_keys=True).encode()).hexdigest() != code["hash"]:
        found.append("its hash of the code is not that of the modules it lists")
    lock = entry["environment"]["lock"]["hash"]
    if receipt.identity(entry["step"], entry["spec"], code["hash"], lock, entry["inputs"]) != entry["id"]:
        found.append(f"its id {entry['id'][:12]} is not the hash of its step, spec, code, lock and inputs")
    listed = [item["path"] for item in entry["outputs"]]
    if not listed or len(set(listed)) < len(listed):
        found.append("lists no output, or one twice")
    return found


def _links(ledger: Ledger, folder: str) -> tuple[list[Fault], list[str]]:
    """Faults and notes of a job's inputs: each must be an output of the job in whose folder it lies."""
    faults, notes = [], []
    for item in ledger.receipts[folder]["inputs"]:
        path, before = item["path"], parent(item["path"])
        if not path.startswith("results/") or path.startswith(f"{PUBLISHED.as_posix()}/"):  # what git keeps
            notes += _tracked(ledger.root, path, item["sha256"], folder)
            continue
        if before not in ledger.receipts:
            where = ledger.shown(ledger.receipt_path(before)) if path.startswith(f"{ledger.home}/") else path
            faults.append(Fault(where, "no receipt to read, but its outputs were read by later jobs", before, True))
            continue
        listed = outputs(ledger, before)
        if path not in listed:
            faults.append(Fault(path, f"read by {folder}, but not among the outputs in its receipt", before))
        elif listed[path] != item["sha256"]:
            said = f"the receipt beside it says sha256 {listed[path][:12]}, {folder} read {item['sha256'][:12]}"
            faults.append(Fault(path, said, folder))  # which of the two is right is not known: what read it is spoiled
        elif item.get("receipt") is None:
            faults.append(Fault(path, f"was read by {folder} when it had no receipt", folder))
        elif item["receipt"] != ledger.receipts[before]["id"]:
            notes.append(
                f"{folder} read {path} when its job had the id {item['receipt'][:12]}; the job was run again as "
                f"{ledger.receipts[before]['id'][:12]} and wrote the same bytes: the file's sha256 is followed"
            )
    return faults, notes


def _tracked(root: Path, path: str, digest: str, folder: str) -> list[str]:
    """A note where a file of the repository that a job read is another one now: later jobs may not know it yet."""
    if not (root / path).is_file():
        return [f"{path}: read by {folder}, absent here"]
    return [f"{path}: changed since {folder} read it"] if receipt.sha256(root / path) != digest else []


def _dataset(ledger: Ledger, folder: str) -> tuple[list[Fault], list[str]]:
    """The job that draws from a data set: the hash in its spec is the one of dvc.lock, and of the file where it is."""
    spec = ledger.receipts[folder]["spec"]
    if "dvc_md5" not in spec:
        return [], []
    path = dataset_path(spec.get("data", {}).get("dataset", ""))
    pinned = locked_md5(ledger.root, path)
    if pinned is None:
        return [], [f"{path}: not in dvc.lock here, so its md5 {spec['dvc_md5']} has nothing to agree with"]
    if pinned != spec["dvc_md5"]:
        return [Fault(path, f"{folder} drew from md5 {spec['dvc_md5']}, dvc.lock pins {pinned}", folder)], []
    if not (ledger.root / path).is_file():
        return [], [f"{path}: absent here; dvc.lock pins the md5 {pinned} that {folder} drew from"]
    if (found := file_md5(ledger.root / path)) != pinned:
        return [Fault(path, f"its md5 is {found}, dvc.lock pins {pinned} (truncated or edited)", folder)], []
    return [], []


def locked_md5(root: Path, path: str) -> str | None:
    """MD5 of an output in dvc.lock, read without a YAML parser: DVC writes one key a line.

    An output's entry begins with `- path:`; its `md5:` stands before the next entry, of the same indentation.
    """
    lock = root / "dvc.lock"
    current, section = "", ""
    for line in lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []:
        words = line.strip()
        if words in ("deps:", "outs:"):
            section = words
        elif words.startswith("- path: "):
            current = words.removeprefix("- path: ").strip("'\"")
        elif words.startswith("md5: ") and section == "outs:" and current == path:
            return words.removeprefix("md5: ").strip("'\"")
    return None
