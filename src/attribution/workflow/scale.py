"""Studies cut down: `snakemake --config scale=tiny` runs the studies that config/scale/tiny.yaml names, in small.

Rules, steps and keys stay those of the study; only values change, and the study is another one: `cifar2` at the scale
`tiny` is the study `cifar2_tiny`, in results/cifar2_tiny, so that the two never mix. What stands under `every` is laid
over each study's config, then what stands under the study's own name:

    a section is laid over the section, key by key        null drops the key
    a list under `methods` keeps the methods it names      any other value takes the place of the study's
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import config as configs
from attribution.workflow import studies as whole
from attribution.workflow.spec import nearest

EVERY = "every"


def studies(root: Path, schema: Path, scale: str | None = None, groups: whole.Groups | None = None) -> whole.Studies:
    """The studies in config/, or their forms at a scale.

    Raises StudyError for a scale without a file, and for a study that the file names and that is not there.
    """
    if scale is None:
        return whole.load(root, schema, groups or {})
    paths = whole.files(root)
    known = sorted(path.stem for path in root.glob("config/scale/[!.]*.yaml"))
    if scale not in known:
        raise StudyError(f"--config scale={scale}: no such scale; {nearest(scale, known)}(config/scale/: {known})")
    changes = configs.read_yaml(root / f"config/scale/{scale}.yaml")
    common = changes.pop(EVERY, {})
    found = whole.Studies()
    for name, own in changes.items():
        if name not in paths:
            raise StudyError(f"config/scale/{scale}.yaml: {name}: no such study; {nearest(name, list(paths))}")
        found.add(
            scaled(name, scale),
            lambda path=paths[name], own=own: configs.load(path, schema, lambda study: laid(study, common, own)),
        )
    return found


def scaled(study: str, scale: str | None) -> str:
    """The name of a study at a scale."""
    return study if scale is None else f"{study}_{scale}"


def published(studies: dict[str, Any], listed: dict[str, Any], scale: str | None) -> list[str]:
    """The studies that are run where no target is named: those of config.yaml, or all that have a form at the scale."""
    return listed["published"] if scale is None else list(studies)


def targets(studies: dict[str, Any], listed: dict[str, Any], scale: str | None) -> dict[str, list[str]]:
    """Target -> its studies. At a scale a target has the name of the whole study, and a group what it has of it."""
    if scale is None:
        return {study: [study] for study in studies} | listed["groups"]
    single = {study.removesuffix(f"_{scale}"): [study] for study in studies}
    groups = {name: [scaled(member, scale) for member in members] for name, members in listed["groups"].items()}
    present = {name: [member for member in members if member in studies] for name, members in groups.items()}
    return single | {name: members for name, members in present.items() if members}


def asked(named: Iterable[str] | None, studies: whole.Studies, listed: dict[str, Any], scale: str | None) -> list[str]:
    """The studies that Snakemake's targets stand for; without any, those that are run then."""
    members = targets(studies, listed, scale)
    named = list(named or [])
    chosen = [name for target in named for name in [target, scaled(target, scale), *members.get(target, [])]]
    return chosen if named else published(studies, listed, scale)


def laid(config: dict[str, Any], *changes: dict[str, Any] | None) -> dict[str, Any]:
    """The config with the changes laid over it, one after the other; what is given is kept as it is."""
    for change in changes:
        config = _laid(config, change or {})
    return config


def _laid(config: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    found = dict(config)
    for key, value in change.items():
        present = found.get(key)
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(present, dict):
            found[key] = _laid(present, value)
        elif key == "methods" and isinstance(value, list) and isinstance(present, dict):
            found[key] = {name: settings for name, settings in present.items() if name in value}
        else:
            found[key] = value
    return found
