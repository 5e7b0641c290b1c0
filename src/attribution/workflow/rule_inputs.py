"""What the rules of a study read: files of its cohorts and methods, resources, the dataset's pinned hash.

Functions of the loaded studies (name -> config) that return Snakemake's input and resource functions.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attribution.workflow import datasets, dvc, image_files, paths

Studies = Mapping[str, dict[str, Any]]
Files = Callable[[Any], list[str]]  # of Snakemake's wildcards
Names = Callable[[dict[str, Any], Any, str], list[str]]  # of a study's config, Snakemake's wildcards and a rule's word

LISTS: dict[str, tuple[str, Names]] = {  # as rules call them -> the wildcard that is filled in, and by which names
    "cohorts": (  # of the stream `word` (crn, own), that of the wildcard {stream} where none is named
        "cohort",
        lambda config, job, word: [
            name for name in paths.cohorts(config) if paths.parse(name).stream == (word or job.stream)
        ],
    ),
    "removals": ("cohort", lambda config, job, word: paths.removals(config)),  # the one without any removal first
    "counterfactuals": ("cohort", lambda config, job, word: paths.counterfactuals(config)),
    "of_coalitions": ("cohort", lambda config, job, word: paths.coalitions(config, word)),  # of the stream `word`
    "ablation": ("cohort", lambda config, job, word: _ablations(config, word)),
    "methods": ("method", lambda config, job, word: sorted(config["methods"])),
    "of_members": ("method", lambda config, job, word: config["methods"][job.method]["members"]),  # of an ensemble
    "of_methods_of": ("method", lambda config, job, word: config[word]["methods"]),  # that a section lists
    "of_section": ("section", lambda config, job, word: [word] * (word in config)),  # once, if the study has it
    "of_latents": ("section", lambda config, job, word: ["latents"] * ("autoencoder" in config["data"])),
}


def each(studies: Studies, listed: str, pattern: str, word: str = "") -> Files:
    """`pattern` for every name of a list, in the order of the config; once, if there is any, where it has no place for
    one.
    """
    wildcard, names = LISTS[listed]

    def of(wildcards: Any) -> list[str]:
        found = names(studies[wildcards.study], wildcards, word)
        return list(dict.fromkeys(pattern.format(study=wildcards.study, **{wildcard: name}) for name in found))

    return of


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


def of_ensemble(studies: Studies, pattern: str) -> Files:
    """`pattern` for every model that an ensemble averages over, and the method that its config names under `of`."""

    def of(wildcards: Any) -> list[str]:
        config = studies[wildcards.study]
        base = config["methods"][wildcards.method]["of"]
        return [pattern.format(study=wildcards.study, model=model, method=base) for model in paths.models(config)]

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


def of_unlearned(studies: Studies, pattern: str) -> Files:
    """`pattern` for every part of the queries, unlearned as the config of the wildcard {method} says."""

    def of(wildcards: Any) -> list[str]:
        config = studies[wildcards.study]
        kind = config["methods"][wildcards.method]["unlearned"]
        parts = paths.query_parts(config)
        return [pattern.format(study=wildcards.study, unlearned=kind, part=part) for part in parts]

    return of


def of_inverse(studies: Studies, pattern: str) -> Files:
    """`pattern` for the kind of curvature that the wildcard {unlearned} inverts, nothing where that is a diagonal."""

    def of(wildcards: Any) -> list[str]:
        config = studies[wildcards.study]
        inverse = config["unlearning"]["kinds"][wildcards.unlearned]["inverse"]
        parts = paths.parts(config) if "{part}" in pattern else [""]
        found = [pattern.format(study=wildcards.study, inverse=inverse, part=part) for part in parts]
        return [] if inverse == "diagonal" else found

    return of


def of_prefilter(studies: Studies, pattern: str) -> Files:
    """`pattern` for the method that a prefilter is compared with, or with {by} for those that choose its candidates.

    Nothing for a study without unlearning.prefilter.
    """

    def of(wildcards: Any) -> list[str]:
        config = studies[wildcards.study]
        choice = config.get("unlearning", {}).get("prefilter")
        if choice is None:
            return []
        settings = config["methods"][choice["method"]]
        parts = paths.query_parts(config) if "{part}" in pattern else [""]
        cheap = choice["by"] if "{by}" in pattern else [""]
        return [
            pattern.format(study=wildcards.study, **settings, part=part, by=name) for part in parts for name in cheap
        ]

    return of


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
