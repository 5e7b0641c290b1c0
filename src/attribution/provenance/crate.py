"""A published study as a Workflow Run RO-Crate: its provenance in a vocabulary that other tools read.

A folder with the workflow, the study's config, the steps' modules and all that was published of it, described by
`ro-crate-metadata.json` (RO-Crate 1.1 with the profiles Process, Workflow and Provenance Run Crate 0.5): every job one
action, with the step that ran, its spec, what it read and wrote, by SHA-256, when it began and ended. Artifacts that
are too large to be published are named by their hash (RFC 6920, `ni:///sha-256;...`). Written by the package rocrate,
which this module alone imports: an audit needs Python alone.
"""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, DataEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from attribution.errors import StudyError
from attribution.provenance import audit, chain, receipt
from attribution.provenance.ledger import Ledger
from attribution.workflow.dvc import dataset_path
from attribution.workflow.spec import canonical

WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
RUN = "https://w3id.org/ro/wfrun/{}/0.5"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
PROFILES = {RUN.format(name): f"{name.title()} Run Crate" for name in ("process", "workflow", "provenance")}
METADATA = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
DONE = {"actionStatus": "http://schema.org/CompletedActionStatus"}


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
    entries = [
        ledger.receipts[folder] | {"folder": folder} for folder in chain.current(ledger) & ledger.receipts.keys()
    ]
    entries.sort(key=lambda entry: (entry["run"]["started"], entry["folder"]))
    describe(ledger, entries).write(out)
    return len(entries)


def describe(ledger: Ledger, entries: list[dict[str, Any]]) -> ROCrate:
    """The crate of the jobs with these receipts, in the order of their beginning."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(CONTEXT)
    steps = list(dict.fromkeys(entry["step"] for entry in entries))
    files = _files(crate, ledger, steps)
    tools = {  # one that the study ran by may have been renamed since
        step: files.get(_module(step)) or _add(crate, f"#tool/{step}", "SoftwareApplication", name=step)
        for step in steps
    }
    artifacts = _artifacts(crate, ledger, entries, files)
    agent = _add(crate, "#agent", "Organization", name="the authors of the study")
    how = {
        step: _add(crate, f"#step/{step}", "HowToStep", position=str(at), workExample=tool)
        for at, (step, tool) in enumerate(tools.items())
    }
    _describe_root(crate, ledger, tools, how)
    spans = [_span(entry) for entry in entries]
    period = {"startTime": min(start for start, _ in spans), "endTime": max(end for _, end in spans)}
    crate.datePublished = period["endTime"]
    place = f"results/published/{ledger.study}/"
    results = [file for name, file in files.items() if name.startswith(place) and "receipts" not in name]
    data = [entity for entity in artifacts.values() if entity.get("additionalType") == "data set"]
    config = [file for name, file in files.items() if name == f"config/{ledger.study}.yaml"]
    of = {"instrument": crate.mainEntity, "object": [*config, *data], "result": results}
    named = {"name": f"the study {ledger.study}", "agent": agent}
    run = _add(crate, "#run", "CreateAction", **named, **of, **period, **DONE)
    actions = [_action(crate, entry, agent, artifacts, tools[entry["step"]]) for entry in entries]
    control = []
    for entry, action in zip(entries, actions, strict=True):
        of = {"instrument": how[entry["step"]], "object": action}
        control.append(_add(crate, f"#control/{entry['id']}", "ControlAction", name=f"run {entry['folder']}", **of))
    site = {"@id": "https://snakemake.readthedocs.io"}
    engine = _add(crate, "#engine", "SoftwareApplication", name="Snakemake", url=site)
    named = {"name": "Snakemake runs the jobs of the study", "agent": agent}
    of = {"instrument": engine, "object": control, "result": run}
    _add(crate, "#organise", "OrganizeAction", **named, **of, **period)
    crate.root_dataset["mentions"] = [run, *actions]
    return crate


def _add(crate: ROCrate, at: str, kind: str, /, **properties: Any) -> Entity:
    return crate.add(ContextEntity(crate, at, {"@type": kind, **properties}))


def _files(crate: ROCrate, ledger: Ledger, steps: list[str]) -> dict[str, Entity]:
    """All files of the crate but the workflow, by their path in it and in the repository."""
    root = ledger.root
    paths = [root / "config" / f"{ledger.study}.yaml", root / "config/claims.yaml", root / "dvc.lock"]
    paths += [root / _module(step) for step in steps]
    for place in (root / "workflow", ledger.shelf):
        paths += [path for path in sorted(place.rglob("*")) if "__pycache__" not in path.parts]
    code = {_module(step) for step in steps}
    found = {}
    for path in filter(Path.is_file, paths):
        name = ledger.shown(path)
        kind = ["File", "SoftwareSourceCode"] if name in code else "File"
        said = {"@type": kind, "name": path.name, "sha256": receipt.sha256(path)}
        found[name] = crate.add_file(path, name, properties=said, record_size=True)
    return found


def _describe_root(crate: ROCrate, ledger: Ledger, tools: dict[str, Entity], how: dict[str, Entity]) -> None:
    """What the crate is, by which profiles, and the workflow, its steps and the tools that they are."""
    licence = _add(crate, "#licence", "CreativeWork", name="as stated in the repository and by the data set's source")
    crate.add_workflow(
        ledger.root / WORKFLOW,
        WORKFLOW,
        main=True,
        lang="snakemake",
        properties={
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "Training data attribution for diffusion models, measured against retraining",
            "license": licence,
            "hasPart": list(tools.values()),
            "step": list(how.values()),
        },
    )
    crate.name = f"Training data attribution for diffusion models: the study {ledger.study}"
    crate.description = "Every job of the study, with what it read, ran and wrote, down from the numbers reported"
    crate.license = licence
    profiles = [_add(crate, at, "CreativeWork", name=title, version="0.5") for at, title in PROFILES.items()]
    profiles.append(_add(crate, WORKFLOW_CRATE, "CreativeWork", name="Workflow RO-Crate", version="1.0"))
    crate.root_dataset["conformsTo"] = profiles


def _action(crate: ROCrate, entry: dict[str, Any], agent: Entity, artifacts: dict[str, Entity], tool: Entity) -> Entity:
    """A job: what its step read, its spec among it, and wrote."""
    read = [item["sha256"] for item in entry["inputs"]]
    read += [entry["spec"]["dvc_md5"]] if "dvc_md5" in entry["spec"] else []
    spec = _add(crate, f"#spec/{entry['id']}", "PropertyValue", name="spec", value=canonical(entry["spec"]))
    start, end = _span(entry)
    return crate.add_action(
        tool,
        f"#job/{entry['id']}",
        object=[*dict.fromkeys(artifacts[digest] for digest in read), spec],
        result=list(dict.fromkeys(artifacts[item["sha256"]] for item in entry["outputs"])),
        properties={
            "name": entry["folder"],
            "identifier": entry["id"],
            "agent": agent,
            "startTime": start,
            "endTime": end,
            **DONE,
        },
    )


def _artifacts(
    crate: ROCrate, ledger: Ledger, entries: list[dict[str, Any]], files: dict[str, Entity]
) -> dict[str, Entity]:
    """What jobs read and wrote, by hash: the copy in the crate where there is one, else a name made of the hash."""
    found: dict[str, Entity] = {}
    for entry in entries:
        for item in [*entry["outputs"], *entry["inputs"]]:
            path, digest = item["path"], item["sha256"]
            if digest in found:
                continue
            copy = ledger.copy(path) if path.startswith(f"{ledger.home}/") else ledger.root / path
            inside = files.get(ledger.shown(copy)) if copy else None
            if inside and inside["sha256"] == digest:
                found[digest] = inside
            else:
                size = {"contentSize": str(item["bytes"])} if "bytes" in item else {}
                coded = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
                said = {"@type": "File", "name": path, "sha256": digest, **size}
                found[digest] = crate.add(DataEntity(crate, f"ni:///sha-256;{coded}", said))
        if md5 := entry["spec"].get("dvc_md5"):
            said = {"@type": "File", "name": dataset_path(entry["spec"]["data"]["dataset"])}
            found[md5] = crate.add(DataEntity(crate, f"urn:md5:{md5}", said | {"additionalType": "data set"}))
    return found


def _module(step: str) -> str:
    return f"src/attribution/steps/{step}.py"


def _span(entry: dict[str, Any]) -> tuple[str, str]:
    """Start and end of a job, ISO 8601."""
    started = datetime.fromisoformat(entry["run"]["started"])
    return started.isoformat(), (started + timedelta(seconds=entry["run"]["seconds"])).isoformat()
