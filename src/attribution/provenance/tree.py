"""The chain below one number or file, as a tree: each job once, with the file that was read of it and its state."""

from pathlib import Path
from typing import Any

from attribution.provenance import chain, files, values
from attribution.provenance.audit import Audit
from attribution.workflow.dvc import dataset_path

MANY = 3  # inputs of one name that are written out; of more, the first and what goes for the others
MARKS = {files.SAME: "re-hashed", files.ABSENT: "absent here", files.OTHER: "another run here", files.BROKEN: "BROKEN"}


def of_number(found: Audit, key: str) -> str:
    """The chain of a number, from its value to the data set."""
    ledger = found.ledger
    entry = ledger.numbers[key]
    interval, n = entry.get("interval"), entry.get("n")
    if isinstance(interval, list):
        interval = f"[{', '.join('' if end is None else values.short(end) for end in interval)}]"
    counts = ", ".join(f"{count} {what}" for what, count in n.items()) if isinstance(n, dict) else n
    shown = [values.short(entry["value"]), *([interval] if interval else []), entry["unit"]]
    lines = [f"{key} = {' '.join(map(str, shown))} over {counts}"]
    lines.append(f"stands in {ledger.shown(ledger.numbers_path())}")
    starts = values.roots(ledger, key)
    if values.is_cost(key):
        return "\n".join([*lines, f"summed over {len(starts)} receipts ({entry['source']})"])
    place = found.places.get(key)
    lines.append(f"comes from {entry['source']}" + (f": {place}" if place else ""))
    folder = chain.parent(entry["source"])
    if folder in ledger.receipts:
        lines.append(f"MLflow run: tags.`attribution.receipt` = '{ledger.receipts[folder]['id']}'")
    shown: set[str] = set()
    for start in sorted(starts, key=lambda start: (start != folder, start)):
        path = entry["source"] if start == folder else next(iter(chain.outputs(ledger, start)), start)
        lines += _lines(found, path, "", shown)
    return "\n".join(lines)


def of_path(found: Audit, path: str) -> str:
    """The chain of a file, or of every output of a job's folder."""
    shown: set[str] = set()
    return "\n".join(_lines(found, path, "", shown))


def graph(found: Audit, starts: set[str]) -> list[dict[str, Any]]:
    """The jobs of a chain for machines: folder, id, step, inputs, and outputs with their states."""
    return [
        {
            "job": folder,
            "receipt": (entry := found.ledger.receipts.get(folder, {})).get("id"),
            "step": entry.get("step"),
            "outputs": [item | {"state": found.states.get(item["path"])} for item in entry.get("outputs", [])],
            "inputs": [{key: item.get(key) for key in ("name", "path", "sha256")} for item in entry.get("inputs", [])],
        }
        for folder in sorted(chain.above(found.ledger, starts))
    ]


def _lines(found: Audit, path: str, label: str, shown: set[str], depth: str = "") -> list[str]:
    """A file and, unless they were shown already, the inputs of the job that made it."""
    folder = path if path in found.ledger.receipts else chain.parent(path)
    entry = found.ledger.receipts.get(folder)
    if entry is None:
        state = "BROKEN: no receipt" if path.startswith("results/") else "in the repository"
        return [f"{depth}{label}{path}  ({state})"]
    broken = next((f.what for f in found.faults if f.folder == folder and (f.of_receipt or f.where == path)), None)
    state = f"BROKEN: {broken}" if broken else MARKS.get(found.states.get(path, ""), "receipt agrees")
    kind = next((item["class"] for item in entry["outputs"] if item["path"] == path), "folder")
    head = f"{depth}{label}{path}  ({entry['step']} {entry['id'][:12]}, {kind}, {state})"
    if folder in shown:
        return [f"{depth}{label}{path}  (above)"]
    shown.add(folder)
    lines, indent = [head], f"{depth}  "
    if "dvc_md5" in entry["spec"]:
        dataset = dataset_path(entry["spec"].get("data", {}).get("dataset", ""))
        here = "re-hashed" if (found.ledger.root / dataset).is_file() else "absent here"
        lines.append(f"{indent}data set: {dataset}  (md5 {entry['spec']['dvc_md5']}, dvc.lock, {here})")
    names = [item["name"] for item in entry["inputs"]]
    for name in dict.fromkeys(names):
        paths = [item["path"] for item in entry["inputs"] if item["name"] == name]
        hidden = [] if len(paths) <= MANY else [p for p in paths[1:] if not _any_fault(found, p)]
        for at in paths:
            if at not in hidden:
                lines += _lines(found, at, f"{name}: ", shown, indent)
        if hidden:
            lines.append(
                f"{indent}{name}: and {len(hidden)} more like it, their chains unbroken ({Path(hidden[-1]).parent})"
            )
    return lines


def _any_fault(found: Audit, path: str) -> bool:
    above = chain.above(found.ledger, {chain.parent(path)})
    return any(fault.folder in above for fault in found.faults)
