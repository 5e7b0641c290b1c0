"""What the rules of a study read: files of its cohorts and methods, resources, the dataset's pinned hash.

Functions of the loaded studies (name -> config) that return Snakemake's input and resource functions.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attribution.workflow import datasets, dvc, image_files, paths

Studies = Mapping[str, dict[str, Any]]
Files = Callable[[Any], list[str]]  # of Snakemake's wildcards
Filled = Iterable[dict[str, Any]]  # what is put in the place of a pattern's wildcards, file by file

# As rules call them -> what is filled in, of a study's config, Snakemake's wildcards and a word of the rule.
LISTS: dict[str, Callable[[dict[str, Any], Any, str], Filled]] = {
    "cohorts": lambda config, job, word: [  # of the stream `word` (crn, own), that of the wildcard {stream} without one
        {"cohort": name} for name in paths.cohorts(config) if paths.parse(name).stream == (word or job.stream)
    ],
    "removals": lambda config, job, word: _each("cohort", paths.removals(config)),  # that without any removal first
    "counterfactuals": lambda config, job, word: _each("cohort", paths.counterfactuals(config)),
    "of_coalitions": lambda config, job, word: _each("cohort", paths.coalitions(config, word)),  # of the stream `word`
    "ablation": lambda config, job, word: _each("cohort", _ablations(config, word)),
    "methods": lambda config, job, word: _each("method", sorted(config["methods"])),
    "of_members": lambda config, job, word: _each("method", config["methods"][job.method]["members"]),
    "of_methods_of": lambda config, job, word: _each("method", config[word]["methods"]),  # that a section lists
    "of_ensemble": lambda config, job, word: [  # every model, and the method that is averaged over them
        {"model": model, "method": config["methods"][job.method]["of"]} for model in paths.models(config)
    ],
    "of_unlearned": lambda config, job, word: [  # every part of the queries, unlearned as the method's config says
        {"unlearned": config["methods"][job.method]["unlearned"], "part": part} for part in paths.query_parts(config)
    ],
    "of_inverse": lambda config, job, word: [  # the curvature that {unlearned} inverts, nothing where it is a diagonal
        {"inverse": inverse, "part": part}
        for inverse in [config["unlearning"]["kinds"][job.unlearned]["inverse"]]
        for part in paths.parts(config)
        if inverse != "diagonal"
    ],
    "of_preconditioner": lambda config, job, word: [  # the curvature that the method's settings name, if any
        {"model": job.model, "curvature": settings["curvature"], "part": part}
        for settings in [config["methods"][job.method]]
        for part in paths.parts(config)
        if "curvature" in settings
    ],
    "of_prefilter": lambda config, job, word: _prefilter(config),
    "of_section": lambda config, job, word: [{}] if word in config else [],  # once, where the study has the section
    "of_latents": lambda config, job, word: [{}] if "autoencoder" in config["data"] else [],
}


def each(studies: Studies, listed: str, pattern: str, word: str = "") -> Files:
    """`pattern` with everything of a list filled in, in the order of the config; files that are the same once."""

    def of(wildcards: Any) -> list[str]:
        found = LISTS[listed](studies[wildcards.study], wildcards, word)
        return list(dict.fromkeys(pattern.format(study=wildcards.study, **filled) for filled in found))

    return of


def _each(wildcard: str, names: Iterable[str]) -> Filled:
    return ({wildcard: name} for name in names)


def _prefilter(config: dict[str, Any]) -> Filled:
    """The method that a prefilter is compared with, part by part of the queries, beside each that chooses its
    candidates ({by}). Nothing for a study without unlearning.prefilter.
    """
    choice = config.get("unlearning", {}).get("prefilter")
    if choice is None:
        return []
    settings = config["methods"][choice["method"]]
    return [settings | {"part": part, "by": name} for part in paths.query_parts(config) for name in choice["by"]]


def _ablations(config: dict[str, Any], which: str) -> list[str]:
    """Cohorts of ablations: every size, main (the study's training set), the size that is retrained, or left_out (its
    models without a unit each). None where the study has no ablation.
    """
    if "ablation" not in config:
        return []
    size = config["ablation"]["retrain"]["size"]
    return {
        "every": paths.encoded(config),
        "main": [paths.Ablated("enc", config["data"]["train"]).name],
        "retrained": [paths.Ablated("enc", size).name],
        "left_out": [paths.Ablated("loo", size).name],
    }[which]


def of_ranking(pattern: str) -> Callable[[Any], str]:
    """`pattern` for the method whose top influences a cohort is trained without."""
    return lambda wildcards: pattern.format(study=wildcards.study, method=paths.parse(wildcards.cohort).ranking)


def files(studies: Studies, pattern: str) -> Files:
    """`pattern` with the wildcards and the settings of their method, of ekfac where the rule has no method.

    {cohort} is the cohort that the wildcard {model} is trained in, {part} every part of the training set unless it is
    itself a wildcard.
    """

    def of(wildcards: Any) -> list[str]:
        config, names = studies[wildcards.study], dict(wildcards.items())
        names = config["methods"].get(names.get("method", "ekfac"), {}) | names
        if "model" in names:
            names["cohort"] = "full" if names["model"] == "full" else paths.seeds(config).name
        parts = paths.parts(config) if "{part}" in pattern and "part" not in names else [names.pop("part", "")]
        return [pattern.format(**names, part=part) for part in parts]

    return of


def of_images(wildcards: Any) -> str:
    """The images that a cohort's subsets are rows of: the training set, or the pool that it is the front of."""
    ablated = isinstance(paths.parse(wildcards.cohort), paths.Ablated)
    return f"results/{wildcards.study}/data/{'pool/pool' if ablated else 'images/train'}.safetensors"


def ends(studies: Studies, always: list[str], sections: Mapping[str, list[str]], members: list[str]) -> list[str]:
    """What the studies called `members` end in: `always`, and what belongs to the optional sections that they have."""
    found = []
    for study in members:
        optional = [pattern for section, files in sections.items() if section in studies[study] for pattern in files]
        found += [pattern.format(study=study) for pattern in (*always, *optional)]
    return found


def of_lengths(studies: Studies, pattern: str) -> Callable[[Any], str]:
    """`pattern` with the projection under which the study compares gradients: that of gradient_dot, else none."""

    def of(wildcards: Any) -> str:
        compared = studies[wildcards.study]["methods"].get("gradient_dot", {})
        return pattern.format(study=wildcards.study, projection=compared.get("projection", "none"))

    return of


def of_set(wildcards: Any) -> str:
    """The images of a set: the training set or the queries."""
    place = {"train": "data/images/train", "queries": "queries/all/queries"}[wildcards.set]
    return f"results/{wildcards.study}/{place}.safetensors"


def of_trajectories(wildcards: Any) -> list[str]:
    """The queries' sampling trajectories, for the gradients that are taken along them."""
    return _trajectories(wildcards) if wildcards.quantity in ("trajectory", "journey") else []


def of_measured(studies: Studies) -> Files:
    """The queries' sampling trajectories, where they are measured."""
    return lambda wildcards: (
        _trajectories(wildcards) if "trajectory" in studies[wildcards.study]["measurement"]["quantities"] else []
    )


def _trajectories(wildcards: Any) -> list[str]:
    return [f"results/{wildcards.study}/queries/all/trajectories.safetensors"]


def needs(
    studies: Studies, rule: str, memory: int | None = None, minutes: int | None = None, gpu: bool = False
) -> dict[str, Callable[..., int]]:
    """What the jobs of a rule ask for: by resources.rules where that names the rule, else the numbers given here, else
    the study's. Twice the memory (MB) and the time (minutes) at each further attempt; GPUs where the rule uses one.
    """

    def need(resource: str, otherwise: int | None, grows: bool = True) -> Callable[..., int]:
        def asked(wildcards: Any, attempt: int) -> int:
            resources = studies[wildcards.study]["resources"]
            own = resources.get("rules", {}).get(rule, {}) if grows else {}
            least = own.get(resource, resources[resource] if otherwise is None else otherwise)
            return least << grows * (attempt - 1)

        return asked

    asked = {"mem_mb": need("mem_mb", memory), "runtime": need("runtime", minutes)}
    return asked | ({"gpu": need("gpu", None, grows=False)} if gpu else {})


def dataset_md5(studies: Studies, root: Path, study: str, key: str = "dataset") -> str | None:
    """The hash that dvc.lock pins for the study's dataset, or for what `key` of its section data names."""
    return dvc.locked_md5(root, studies[study]["data"][key])


def images_sha256(studies: Studies, study: str) -> str:
    """The identity of the image files in the study's folder or archive."""
    return image_files.summary(studies[study]["data"]["folder"])["sha256"]


def levels(studies: Studies, study: str) -> int:
    """How many values a pixel of the study's images can take."""
    return datasets.levels(studies[study]["data"])


def of_source(studies: Studies, source: str) -> str:
    """A wildcard constraint that studies meet whose images come from a dataset, a folder, or through an autoencoder."""
    order = ("autoencoder", "folder", "dataset")
    first = {study: next(key for key in order if key in config["data"]) for study, config in studies.items()}
    return one_of(study for study in studies if first[study] == source)


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint that only these names meet; none where there are no names."""
    return "|".join(sorted(names)) or "(?!)"
