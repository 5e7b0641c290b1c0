"""What the rules of a study read: files of its cohorts and methods, resources, the dataset's pinned hash.

Functions of the loaded studies (name -> config) that return Snakemake's input and resource functions.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attribution.workflow import dvc, paths

Studies = Mapping[str, dict[str, Any]]
Files = Callable[[Any], list[str]]  # of Snakemake's wildcards


def of_cohorts(studies: Studies, pattern: str, stream: str) -> Files:
    """`pattern` for every cohort of a stream (crn, own) of the study."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, cohort=name)
        for name in paths.cohorts(studies[wildcards.study])
        if paths.parse(name).stream == stream
    ]


def of_removals(studies: Studies, pattern: str) -> Files:
    """`pattern` for every cohort retrained without top influences, the one without any removal first."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, cohort=name) for name in paths.removals(studies[wildcards.study])
    ]


def of_ranking(pattern: str) -> Callable[[Any], str]:
    """`pattern` for the method whose top influences a cohort is trained without."""
    return lambda wildcards: pattern.format(study=wildcards.study, method=paths.parse(wildcards.cohort).ranking)


def of_methods(studies: Studies, pattern: str) -> Files:
    """`pattern` for every method of the study, in alphabetical order."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, method=name) for name in sorted(studies[wildcards.study]["methods"])
    ]


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


def of_ablation(studies: Studies, pattern: str, which: str) -> Files:
    """`pattern` for cohorts of ablations: every size, main (the study's training set), the size that is retrained, or
    left_out (its models without a unit each). Nothing where the study has no ablation.
    """

    def of(wildcards: Any) -> list[str]:
        config = studies[wildcards.study]
        if "ablation" not in config:
            return []
        size = config["ablation"]["retrain"]["size"]
        chosen = {
            "every": paths.encoded(config),
            "main": [paths.Ablated("enc", config["data"]["train"]).name],
            "retrained": [paths.Ablated("enc", size).name],
            "left_out": [paths.Ablated("loo", size).name],
        }[which]
        return list(dict.fromkeys(pattern.format(study=wildcards.study, cohort=name) for name in chosen))

    return of


def ends(studies: Studies, always: list[str], ablation: list[str], members: list[str]) -> list[str]:
    """What the studies called `members` end in: `always`, and `ablation` where a study has encoded ensembles."""
    return [
        pattern.format(study=study)
        for study in members
        for pattern in (*always, *(ablation if "ablation" in studies[study] else ()))
    ]


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


def of_counterfactuals(studies: Studies, pattern: str) -> Files:
    """`pattern` for every cohort of counterfactual retraining; nothing for a study without the section."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, cohort=name) for name in paths.counterfactuals(studies[wildcards.study])
    ]


def of_members(studies: Studies, pattern: str) -> Files:
    """`pattern` for every method that the ensemble {method} puts together, as its config lists them."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, method=name)
        for name in studies[wildcards.study]["methods"][wildcards.method]["members"]
    ]


def of_judged_methods(studies: Studies, pattern: str) -> Files:
    """`pattern` for every method that counterfactual retraining judges, in the config's order."""
    return lambda wildcards: [
        pattern.format(study=wildcards.study, method=name)
        for name in studies[wildcards.study]["counterfactual"]["methods"]
    ]


def of_judged(studies: Studies, pattern: str) -> Files:
    """`pattern` where the study is judged by counterfactual retraining, else nothing."""
    return lambda wildcards: (
        [pattern.format(study=wildcards.study)] if "counterfactual" in studies[wildcards.study] else []
    )


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


def need(studies: Studies, resource: str) -> Callable[[Any], int]:
    """What the jobs that compute with the model ask for, from the study's config."""
    return lambda wildcards: studies[wildcards.study]["resources"][resource]


def dataset_md5(studies: Studies, root: Path, study: str) -> str | None:
    """The hash that dvc.lock pins for the study's dataset."""
    return dvc.locked_md5(root, studies[study]["data"]["dataset"])
