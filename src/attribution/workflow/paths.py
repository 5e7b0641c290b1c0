"""Names that stand in paths: studies, cohorts, models, methods, quantities, parts.

A cohort is the set of models that one batched job trains: `full` is the model trained on every example, `crn0_000_031`
the models of subsets 0 to 31 in replicate 0 under common random numbers (crn), `own1_032_063` those of replicate 1 with
a seed of their own each (the control), `seeds0_001_003` the models seed1 to seed3, trained on every example from other
seeds: with `full` they are what ensembles of scores average over. Numbers have three digits, more where needed. Cohorts
are cut at multiples of design.cohort, so a larger design keeps the names of all full cohorts and with them their
trained models.
`without10_ekfac` are the models retrained without the top 10% of examples by a method's scores, query by query;
`without0_random`, without anything removed, is what they are compared with.
`leave50_mucs` are models retrained without the top 50 examples of one query each, `joint20_mucs` those without the top
20 of all queries together, beside a random removal of the same size; `leave0_random` those without any removal.
`enc1000` is the encoded ensemble of the first 1,000 images, `loo256` are models of the first 256 without one unit each.
`sparse` is the full model pruned, `sft0_000_031` are that one fine-tuned on coalitions of contributors, `half0_000_031`
models trained anew on the coalitions by which contributors are judged.
"""

import re
from dataclasses import dataclass
from typing import Any

from attribution.errors import StudyError

STUDY = r"[a-z][a-z0-9_]*"
METHOD = r"[a-z][a-z0-9_]*"
QUANTITY = r"[a-z][a-z0-9_]*"  # what gradients are taken of: loss, squared_norm, ...
CURVATURE = r"[a-z][a-z0-9_]*"  # a name under curvature.kinds
PROJECTION = r"none|(?:count|rademacher)\d+"
MODEL = r"full|seed\d+"  # one trained on every example
PART = r"all|\d\d\d+_\d\d\d+"  # of the queries or the training set: the examples of one job
DESIGNED = r"full|(?:crn|own|seeds)\d+_\d\d\d+_\d\d\d+"  # Snakemake does not take \d{3,} in a constraint
REMOVED = r"without\d+_[a-z][a-z0-9_]*"
ENCODED = r"enc\d+"
LEFT_OUT = r"loo\d+"
ABLATED = rf"{ENCODED}|{LEFT_OUT}"
COUNTED = r"(?:leave|joint)\d+_[a-z][a-z0-9_]*"
FINETUNED = r"sft\d+_\d\d\d+_\d\d\d+"
RETRAINED = r"half\d+_\d\d\d+_\d\d\d+"
COALITIONS = rf"{FINETUNED}|{RETRAINED}"
TRAINED = rf"{DESIGNED}|{REMOVED}|{ABLATED}|{COUNTED}|{RETRAINED}"  # from first weights
COHORT = rf"{TRAINED}|{FINETUNED}|sparse"

DESCENT = r"(?:mirrored|ascent)(?:_[a-z0-9]+)*"  # kinds of unlearning, by the first word of their names
NEWTON = r"newton(?:_[a-z0-9]+)*"
_PARTS = re.compile(r"(crn|own|seeds|sft|half)(\d+)_(\d{3,})_(\d{3,})")
ALONE = ("full", "sparse")  # cohorts of one model, called by their streams


@dataclass(frozen=True)
class Cohort:
    """Subsets `first` to `last`, both included, of one replicate; full and sparse are one model each, numbered 0."""

    stream: str
    replicate: int
    first: int
    last: int

    @property
    def name(self) -> str:
        if self.stream in ALONE:
            return self.stream
        return f"{self.stream}{self.replicate}_{self.first:03d}_{self.last:03d}"

    @property
    def subsets(self) -> range:
        """The subsets' numbers, in the order in which the job holds its models."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True)
class Removal:
    """Models retrained without the top `percent` of examples by `ranking`, one for each query and replicate."""

    percent: int
    ranking: str
    stream: str = "without"

    @property
    def name(self) -> str:
        return f"{self.stream}{self.percent}_{self.ranking}"


@dataclass(frozen=True)
class Counterfactual:
    """Models retrained without the top `count` examples by `ranking`, of each query (leave) or of all (joint)."""

    stream: str
    count: int
    ranking: str

    @property
    def name(self) -> str:
        return f"{self.stream}{self.count}_{self.ranking}"


@dataclass(frozen=True)
class Ablated:
    """Models of the first `size` images: an encoded ensemble (enc), or each without one unit (loo)."""

    stream: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.stream}{self.size}"


FULL = Cohort("full", 0, 0, 0)


def parse(name: str) -> Cohort | Removal | Ablated | Counterfactual:
    """The cohort of that name. Raises StudyError where `name` is not exactly what `Cohort.name` writes."""
    if name in ALONE:
        return Cohort(name, 0, 0, 0)
    if (match := re.fullmatch(r"without(\d+)_(\w+)", name)) and Removal(int(match[1]), match[2]).name == name:
        return Removal(int(match[1]), match[2])
    if (match := re.fullmatch(r"(enc|loo)(\d+)", name)) and Ablated(match[1], int(match[2])).name == name:
        return Ablated(match[1], int(match[2]))
    if match := re.fullmatch(r"(leave|joint)(\d+)_(\w+)", name):
        found = Counterfactual(match[1], int(match[2]), match[3])
        if found.name == name:
            return found
    if match := _PARTS.fullmatch(name):
        cohort = Cohort(match[1], int(match[2]), int(match[3]), int(match[4]))
        if cohort.name == name and cohort.first <= cohort.last:
            return cohort
    raise StudyError(
        f"{name}: not a cohort (expected full, or <crn|own|seeds><replicate>_<first>_<last>, as in crn0_000_031)"
    )


def cohorts(config: dict[str, Any]) -> list[str]:
    """Every cohort of a study: full, then crn by replicate, then own by replicate for the first control subsets."""
    design = config["design"]
    names = [FULL.name]
    for stream, subsets in (("crn", design["subsets"]), ("own", design["control_subsets"])):
        for replicate in range(design["replicates"]):
            names += _cut(stream, replicate, subsets, design["cohort"])
    return names


def _cut(stream: str, replicate: int, count: int, cohort: int) -> list[str]:
    """The cohorts of models 0 to count - 1, cut at multiples of `cohort`."""
    firsts = range(0, count, cohort)
    return [Cohort(stream, replicate, first, min(first + cohort, count) - 1).name for first in firsts]


def coalitions(config: dict[str, Any], stream: str) -> list[str]:
    """The cohorts of coalitions of contributors of a stream (sft, half), none where not asked for: those that are
    fine-tuned, as design/contributors.py numbers them, or those trained anew.
    """
    choice = config.get("contributors")
    if choice is None:
        return []
    judging = choice["judge"]["coalitions"]
    count = judging if stream == "half" else 1 + 2 * choice["count"] + judging + choice["coalitions"]
    return _cut(stream, 0, count, choice["cohort"])


def seeds(config: dict[str, Any]) -> Cohort:
    """The models beside `full` that are trained on every example: seed1 to seed<ensemble.models - 1>."""
    return Cohort("seeds", 0, 1, config["ensemble"]["models"] - 1)


def models(config: dict[str, Any]) -> list[str]:
    """The models that ensembles of scores average over: full, seed1, ..."""
    return ["full", *(f"seed{number}" for number in seeds(config).subsets)]


def parts(config: dict[str, Any]) -> list[str]:
    """The parts of the training set that the jobs of a map work on: gradients.shard examples each, in order."""
    examples, shard = config["data"]["train"], config["gradients"]["shard"]
    return [f"{first:03d}_{min(first + shard, examples) - 1:03d}" for first in range(0, examples, shard)]


def query_parts(config: dict[str, Any]) -> list[str]:
    """The parts of the queries that jobs of unlearning work on: unlearning.cohort each, in order; or all in one."""
    queries, cohort = sum(config["queries"].values()), config["unlearning"]["cohort"]
    return (
        ["all"]
        if cohort >= queries
        else [f"{first:03d}_{min(first + cohort, queries) - 1:03d}" for first in range(0, queries, cohort)]
    )


def rows(part: str) -> dict[str, int]:
    """First and last example of a part of the training set; nothing for the part of all queries."""
    return {} if part == "all" else dict(zip(("first", "last"), map(int, part.split("_")), strict=True))


def removals(config: dict[str, Any]) -> list[str]:
    """The cohorts retrained without top influences, the one without any removal first; none where not asked for."""
    removal = config.get("removal")
    if removal is None:
        return []
    chosen = [Removal(percent, method) for method in removal["methods"] for percent in removal["percents"]]
    return [Removal(0, "random").name, *(cohort.name for cohort in chosen)]


def encoded(config: dict[str, Any]) -> list[str]:
    """The encoded ensembles of a study, one for each of ablation.sizes; none where not asked for."""
    return [Ablated("enc", size).name for size in config.get("ablation", {}).get("sizes", [])]


def counterfactuals(config: dict[str, Any]) -> list[str]:
    """The cohorts of counterfactual retraining: nothing removed, then leave and joint of each method; maybe none."""
    choice = config.get("counterfactual")
    if choice is None:
        return []
    streams = [(stream, choice[stream]["count"]) for stream in ("leave", "joint")]
    chosen = [Counterfactual(stream, count, method) for method in choice["methods"] for stream, count in streams]
    return [Counterfactual("leave", 0, "random").name, *(cohort.name for cohort in chosen)]
