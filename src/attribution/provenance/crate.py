"""A published study as a Workflow Run RO-Crate: its provenance in a vocabulary that other tools read.

A folder with the workflow, the study's config, the steps' modules and all that was published of it, described by
`ro-crate-metadata.json` (RO-Crate 1.1 with the profiles Process, Workflow and Provenance Run Crate 0.5): every job one
action, with the step that ran, its spec, what it read and wrote, by SHA-256, when it began and ended. Artifacts that
are too large to be published are named by their hash (RFC 6920, `ni:///sha-256;...`).
"""

import base64
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.provenance import audit, chain, receipt
from attribution.provenance.ledger import Ledger
from attribution.workflow.dvc import dataset_path
from attribution.workflow.spec import canonical

CRATE = "https://w3id.org/ro/crate/1.1"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
RUN = "https://w3id.org/ro/wfrun/{}/0.5"
PROFILES = {"process": "Process Run Crate", "workflow": "Workflow Run Crate", "provenance": "Provenance Run Crate"}
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
METADATA = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
LICENCE = "#licence"

Entity = dict[str, Any]


def write(root: Path, study: str, out: Path) -> int:
    """Write the crate of a published study to a new folder; returns how many actions it holds.

    Raises StudyError where the folder is there already, or a link of the study's chain is broken.
    """
    if out.exists():
        raise StudyError(f"{out}: is there already; name a folder that is not")
    found = audit.audit(root, study, published=True, hashed=False)
    if found.faults:
        raise StudyError(f"{found.faults[0].where}: {found.faults[0].what}: no crate is made of a broken chain")
    ledger = found.ledger
    made = chain.current(ledger) & ledger.receipts.keys()
    jobs = sorted(made, key=lambda folder: (ledger.receipts[folder]["run"]["started"], folder))
    steps = list(dict.fromkeys(ledger.receipts[folder]["step"] for folder in jobs))
    copied = _copy(ledger, steps, out)
    graph = describe(ledger, jobs, steps, copied)
    text = json.dumps({"@context": CONTEXT, "@graph": graph}, indent=2, ensure_ascii=False) + "\n"
    (out / METADATA).write_text(text, encoding="utf-8")
    return len(jobs)


def describe(ledger: Ledger, jobs: list[str], steps: list[str], copied: dict[str, Path]) -> list[Entity]:
    """The crate's entities. copied: path in the crate -> file."""
    entries = {folder: ledger.receipts[folder] for folder in jobs}
    inside = {ledger.shown(path): name for name, path in copied.items()}
    spans = {folder: _span(entry) for folder, entry in entries.items()}
    artifacts = _artifacts(ledger, entries, inside)
    tools = {step: f"src/attribution/steps/{step}.py" for step in steps}
    tools = {step: name if name in copied else f"#tool/{step}" for step, name in tools.items()}
    gone = [step for step, name in tools.items() if name not in copied]  # a step that the study ran by, renamed since
    files = [_file(name, path, tools) for name, path in copied.items() if name != WORKFLOW]
    begun, ended = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    data = [entity["@id"] for entity in artifacts.values() if entity.get("additionalType") == "data set"]
    results = [
        name for name in copied if name.startswith(f"results/published/{ledger.study}/") and "receipts" not in name
    ]
    actions = [f"#job/{entry['id']}" for entry in entries.values()]
    return [
        _descriptor(),
        _root(ledger, [*copied, *(entity["@id"] for entity in artifacts.values())], ["#run", *actions], ended),
        *_profiles(),
        {"@id": LICENCE, "@type": "CreativeWork", "name": "as stated in the repository and by the data set's source"},
        _workflow(steps, tools),
        *(
            {"@id": f"#step/{step}", "@type": "HowToStep", "position": str(at), "workExample": {"@id": tools[step]}}
            for at, step in enumerate(steps)
        ),
        {
            "@id": "#snakemake",
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "url": {"@id": "https://snakemake.github.io"},
        },
        {"@id": "#engine", "@type": "SoftwareApplication", "name": "Snakemake", "url": "https://snakemake.github.io"},
        {"@id": "#agent", "@type": "Organization", "name": "the authors of the study"},
        *files,
        *({"@id": tools[step], "@type": "SoftwareApplication", "name": step} for step in gone),
        *(entity for entity in artifacts.values() if "@type" in entity),
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"the study {ledger.study}",
            "instrument": {"@id": WORKFLOW},
            "agent": {"@id": "#agent"},
            "object": _refs([f"config/{ledger.study}.yaml", *data]),
            "result": _refs(results),
            "startTime": begun,
            "endTime": ended,
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
        {
            "@id": "#organise",
            "@type": "OrganizeAction",
            "name": "Snakemake runs the jobs of the study",
            "instrument": {"@id": "#engine"},
            "agent": {"@id": "#agent"},
            "object": _refs([f"#control/{entry['id']}" for entry in entries.values()]),
            "result": {"@id": "#run"},
            "startTime": begun,
            "endTime": ended,
        },
        *(
            entity
            for folder, entry in entries.items()
            for entity in _job(folder, entry, spans[folder], artifacts, tools)
        ),
    ]


def _job(
    folder: str, entry: Entity, span: tuple[str, str], artifacts: dict[str, Entity], tools: dict[str, str]
) -> list[Entity]:
    """The action of a job, its spec, and what had it run."""
    action, spec = f"#job/{entry['id']}", f"#spec/{entry['id']}"
    read = [artifacts[item["sha256"]]["@id"] for item in entry["inputs"]]
    if "dvc_md5" in entry["spec"]:
        read.append(artifacts[entry["spec"]["dvc_md5"]]["@id"])
    return [
        {
            "@id": action,
            "@type": "CreateAction",
            "name": folder,
            "identifier": entry["id"],
            "instrument": {"@id": tools[entry["step"]]},
            "agent": {"@id": "#agent"},
            "object": _refs([*dict.fromkeys(read), spec]),
            "result": _refs(list(dict.fromkeys(artifacts[item["sha256"]]["@id"] for item in entry["outputs"]))),
            "startTime": span[0],
            "endTime": span[1],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
        {"@id": spec, "@type": "PropertyValue", "name": "spec", "value": canonical(entry["spec"])},
        {
            "@id": f"#control/{entry['id']}",
            "@type": "ControlAction",
            "name": f"run {folder}",
            "instrument": {"@id": f"#step/{entry['step']}"},
            "object": {"@id": action},
        },
    ]


def _artifacts(ledger: Ledger, entries: dict[str, Entity], inside: dict[str, str]) -> dict[str, Entity]:
    """What jobs read and wrote, by hash: the copy in the crate where there is one, else a name made of the hash."""
    found: dict[str, Entity] = {}
    for entry in entries.values():
        for item in [*entry["outputs"], *entry["inputs"]]:
            path, digest = item["path"], item["sha256"]
            copy = ledger.copy(path) if path.startswith(f"{ledger.home}/") else ledger.root / path
            name = (
                inside.get(ledger.shown(copy)) if copy and copy.is_file() and receipt.sha256(copy) == digest else None
            )
            if digest not in found:
                found[digest] = {"@id": name} if name else _absent(path, digest, item.get("bytes"))
        if md5 := entry["spec"].get("dvc_md5"):
            path = dataset_path(entry["spec"]["data"]["dataset"])
            found[md5] = {"@id": f"urn:md5:{md5}", "@type": "File", "name": path, "additionalType": "data set"}
    return found


def _absent(path: str, digest: str, size: int | None) -> Entity:
    coded = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    entity = {"@id": f"ni:///sha-256;{coded}", "@type": "File", "name": path, "sha256": digest}
    return entity | ({"contentSize": str(size)} if size is not None else {})


def _copy(ledger: Ledger, steps: list[str], out: Path) -> dict[str, Path]:
    """Fill the crate's folder; path in it -> the file that was copied."""
    root = ledger.root
    paths = [root / WORKFLOW, root / "config" / f"{ledger.study}.yaml", root / "config/claims.yaml", root / "dvc.lock"]
    paths += [root / "src/attribution/steps" / f"{step}.py" for step in steps]
    for place in (root / "workflow", ledger.shelf):
        paths += [path for path in sorted(place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    copied = {}
    for path in paths:
        if path.is_file():
            name = ledger.shown(path)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / name)
            copied[name] = path
    return copied


def _file(name: str, path: Path, tools: dict[str, str]) -> Entity:
    kind = ["File", "SoftwareSourceCode"] if name in tools.values() else "File"
    said = {"@id": name, "@type": kind, "name": path.name, "sha256": receipt.sha256(path)}
    return said | {"contentSize": str(path.stat().st_size)}


def _workflow(steps: list[str], tools: dict[str, str]) -> Entity:
    return {
        "@id": WORKFLOW,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Training data attribution for diffusion models, measured against retraining",
        "programmingLanguage": {"@id": "#snakemake"},
        "hasPart": _refs([tools[step] for step in steps]),
        "step": _refs([f"#step/{step}" for step in steps]),
        "license": {"@id": LICENCE},
    }


def _root(ledger: Ledger, parts: list[str], mentioned: list[str], published: str) -> Entity:
    profiles = [*(RUN.format(name) for name in PROFILES), WORKFLOW_CRATE]
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Training data attribution for diffusion models: the study {ledger.study}",
        "description": "Every job of the study, with what it read, ran and wrote, down from the numbers reported",
        "datePublished": published,
        "license": {"@id": LICENCE},
        "conformsTo": _refs(profiles),
        "hasPart": _refs(list(dict.fromkeys(parts))),
        "mainEntity": {"@id": WORKFLOW},
        "mentions": _refs(mentioned),
    }


def _descriptor() -> Entity:
    about = {"@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"}}
    return about | {"conformsTo": _refs([CRATE, WORKFLOW_CRATE])}


def _profiles() -> list[Entity]:
    named = {RUN.format(name): (title, "0.5") for name, title in PROFILES.items()}
    named[WORKFLOW_CRATE] = ("Workflow RO-Crate", "1.0")
    return [
        {"@id": at, "@type": "CreativeWork", "name": title, "version": version}
        for at, (title, version) in named.items()
    ]


def _span(entry: Entity) -> tuple[str, str]:
    """Start and end of a job, ISO 8601."""
    started = datetime.fromisoformat(entry["run"]["started"])
    return started.isoformat(), (started + timedelta(seconds=entry["run"]["seconds"])).isoformat()


def _refs(names: list[str]) -> list[Entity]:
    return [{"@id": name} for name in names]
