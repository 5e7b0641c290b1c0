"""The params of a rule that make a job's identity: which config keys it reads, which code it runs.

Spec and code are functions of the wildcards, as Snakemake wants it. Each value stands in `params:` as one string, so
any change of them, and nothing else, reruns the job.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from attribution.workflow import fingerprint, paths, registry
from attribution.workflow.one_line import of_wildcards, one_line
from attribution.workflow.spec import canonical, select

Param = Callable[[Any], str]  # of Snakemake's wildcards


def identify(
    studies: Mapping[str, dict[str, Any]], lock: str, step: str, keys: str, **derived: Callable[[str], Any]
) -> dict[str, Param | str]:
    """A rule's params: spec of the config keys that its step reads, code of the step, and the lock of its packages."""
    return {"spec": spec(studies, keys, **derived), "code": code(step), "lock": lock}


def spec(studies: Mapping[str, dict[str, Any]], keys: str, **derived: Callable[[str], Any]) -> Param:
    """The canonical spec of a job: the config keys it reads, and "job".

    In a key `{method}` stands for the wildcard, `{base}` for the method that an ensemble averages, else the same. "job"
    holds the wildcards but the study, a cohort's and a part's spelled out, and of a method its module and function, and
    a used base.
    `derived` adds values that are functions of the study's name.
    """

    @cache
    def chosen(study: str, names: str) -> dict[str, Any]:
        return select(studies[study], names)

    @of_wildcards
    @one_line()
    def value(wildcards: Any) -> str:
        job = {name: text for name, text in wildcards.items() if name != "study"}
        config = studies[wildcards.study]
        if "{base}" in keys:
            job["base"] = config["methods"][job["method"]].get("of", job["method"])
        read = chosen(wildcards.study, keys.format(**job))
        if "method" in job:
            declared = registry.method(job["method"])
            job |= {"module": declared.module, "function": declared.name}
        if "part" in job:
            job |= paths.rows(job["part"])
        if "cohort" in job:
            job |= vars(paths.parse(job["cohort"]))
        return canonical(read | {"job": job} | {name: of(wildcards.study) for name, of in derived.items()})

    return value


def code(step: str) -> Param:
    """The fingerprint of a step's import closure and command, and of its method's where the rule has one."""

    @of_wildcards
    @one_line()
    def value(wildcards: Any) -> str:
        return code_hash(step, wildcards.get("method"))

    return value


@cache  # a run parses the tree once, and the guard refuses a tree that changes under it
def code_hash(step: str, method: str | None) -> str:
    """The fingerprint of a job's code now."""
    return fingerprint.fingerprint(*fingerprint.roots(step, method)).hash
