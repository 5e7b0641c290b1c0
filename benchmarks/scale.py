"""What a study costs before it is run: jobs, GPU hours and bytes of each rule, from its plan and from measured units.

The plan is Snakemake's own (a dry run of everything); units are those that units.py measured, of this study where there
are any, else another study's at the same operations a second. Jobs of rules that are not in TERMS (others) are
counted alone: they read and write little.

    python benchmarks/scale.py STUDY ... [--units FILE.csv] [--device WORDS] [--train N]

writes results/published/benchmarks/scale.csv: study, rule, jobs, units, unit, hours, gigabytes (written).
For one study that was run here, `--check` prints instead the CPU seconds predicted beside those in its receipts.
`--train N` is another number of training examples: every part's work is multiplied, and a kernel's by the square.
"""

import argparse
import csv
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from works import SHAPES, forward_gflop

from attribution.curvature.blocks import blocks
from attribution.diffusion.denoisers import build
from attribution.diffusion.quantities import fixed
from attribution.workflow import config as configs
from attribution.workflow import paths

STARTING = 2.0  # seconds of CPU of a job before its work: Python and torch
ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
TABLES = ROOT / "results/published/benchmarks"
Config = dict[str, Any]
Words = dict[str, str]  # a job's wildcards


@dataclass(frozen=True)
class Sizes:
    """Of one denoiser: P parameters, P in blocks, and the entries of all Kronecker factors."""

    parameters: int
    blocked: int
    factors: int
    forward: float  # 10^9 operations


@dataclass(frozen=True)
class Term:
    """A rule's work by units.py, its units in one job, and the bytes that the job writes."""

    work: str
    units: Callable[[Config, Words], float]
    size: Callable[[Config, Words, Sizes], float]
    power: int = 1  # of the number of training examples


def queries(config: Config) -> int:
    return sum(config["queries"].values())


def examples(config: Config, job: Words) -> int:
    """Of one part of the training set, or all queries."""
    if job.get("set") == "queries":
        return queries(config)
    bounds = paths.rows(job["part"])
    return bounds["last"] - bounds["first"] + 1


def models(config: Config, job: Words) -> int:
    """Trained together in a cohort."""
    cohort = paths.parse(job["cohort"])
    if isinstance(cohort, paths.Cohort):
        return len(cohort.subsets)
    if isinstance(cohort, paths.Removal):
        kinds = len(config["queries"])
        return config["removal"]["replicates"] * (config["removal"]["queries"] * kinds if cohort.percent else 1)
    if isinstance(cohort, paths.Ablated):
        retrain = config["ablation"]["retrain"]
        left_out = (retrain["units"] + 1) * retrain["replicates"]
        return config["ablation"]["members"] if cohort.stream == "enc" else left_out
    part = config["counterfactual"][cohort.stream]
    return part["replicates"] * (part["queries"] * len(config["queries"]) if cohort.stream == "leave" else 1)


def passes(config: Config) -> int:
    """Forward passes that the measured quantities take: one for all over the timesteps, one for each fixed one."""
    return len({fixed(name) for name in config["measurement"]["quantities"] if name != "trajectory"})


def draws(config: Config, job: Words) -> int:
    gradients = config["gradients"]
    return gradients["outputs"] if job["quantity"] == "output" else gradients["draws"]


def curvature_rows(config: Config, job: Words) -> int:
    return examples(config, job) * config["curvature"]["kinds"][job["curvature"]]["draws"]


def steps(config: Config) -> int:
    return config["training"]["steps"] * config["training"]["batch"]


def gradient_bytes(config: Config, job: Words, sizes: Sizes) -> float:
    return examples(config, job) * sizes.blocked * config["gradients"]["bits"] / 8


def dampings(config: Config, job: Words) -> int:
    return len(config["methods"][job["method"]]["dampings"])


TERMS = {
    "train": Term("train", lambda c, j: models(c, j) * steps(c), lambda c, j, s: 4 * models(c, j) * s.parameters, 0),
    "checkpoints": Term(
        "train", lambda c, j: steps(c), lambda c, j, s: 4 * c["checkpoints"]["count"] * s.parameters, 0
    ),
    "queries": Term("queries", lambda c, j: c["queries"]["generated"] * c["sampling"]["steps"], lambda c, j, s: 0, 0),
    "measure": Term(
        "measure",
        lambda c, j: models(c, j) * queries(c) * c["measurement"]["draws"] * passes(c),
        lambda c, j, s: 8 * models(c, j) * queries(c) * len(c["measurement"]["quantities"]),
        0,
    ),
    "gradients": Term("gradients", lambda c, j: examples(c, j) * draws(c, j), gradient_bytes),
    "factors": Term("factors", curvature_rows, lambda c, j, s: 8 * s.factors),
    "basis": Term("basis", lambda c, j: 1, lambda c, j, s: 4 * s.factors, 0),
    "eigenvalues": Term("eigenvalues", curvature_rows, lambda c, j, s: 8 * s.blocked),
    "rotate": Term("rotate", examples, gradient_bytes),
    "checkpoint_products": Term(
        "gradients",
        lambda c, j: c["checkpoints"]["count"] * (c["data"]["train"] + queries(c)) * c["checkpoints"]["draws"],
        lambda c, j, s: 8 * 3 * c["checkpoints"]["count"] * queries(c) * c["data"]["train"],
    ),
    "gram": Term(
        "score_influence",
        lambda c, j: (c["data"]["train"] + queries(c)) * c["data"]["train"],
        lambda c, j, s: 8 * (c["data"]["train"] + queries(c)) * c["data"]["train"],
        2,
    ),
    "score_influence": Term(
        "score_influence",
        lambda c, j: dampings(c, j) * queries(c) * c["data"]["train"],
        lambda c, j, s: 4 * dampings(c, j) * queries(c) * c["data"]["train"],
    ),
}


def main() -> None:
    asked = arguments()
    units = read_units(asked.units, asked.device)
    if asked.check:
        check(asked.studies[0], units)
        return
    rows = [row for study in asked.studies for row in costs(study, units, asked.train)]
    with (TABLES / "scale.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print((TABLES / "scale.csv").read_text(encoding="utf-8"), end="")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--units", type=Path, default=TABLES / "units.csv")
    parser.add_argument("--device", default="NVIDIA", help="words in the units' device column")
    parser.add_argument("--train", type=int, help="number of training examples, instead of the study's")
    parser.add_argument("--check", action="store_true", help="beside the receipts of results/STUDY")
    return parser.parse_args()


@cache
def config_of(study: str) -> Config:
    return configs.load(ROOT / "config" / f"{study}.yaml", SCHEMA)


def plan(study: str) -> Iterator[tuple[str, Words]]:
    """(rule, wildcards) of every job of a study."""
    command = [sys.executable, "-m", "snakemake", "-n", "--forceall", study]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rule = ""
    for line in text.splitlines():
        if found := re.match(r"(?:local)?rule (\w+):", line):
            rule = found[1]
        elif found := re.match(r"\s+wildcards: (.*)", line):
            yield rule, dict(part.split("=", 1) for part in found[1].split(", "))


def sizes_of(config: Config, shape: tuple[int, ...]) -> Sizes:
    """Counted on the model itself."""
    with torch.device("meta"):
        model = build(config["denoiser"], shape)
    blocked = factors = 0
    bias = config["curvature"]["bias"]
    layers = dict(model.named_modules())
    for layer, named in blocks(model, bias).items():
        weight = layers[layer].weight
        for block in named.values():
            rows, columns = len(weight), block.inputs * weight[0].numel() + block.ones
            blocked, factors = blocked + rows * columns, factors + rows**2 + columns**2
    return Sizes(sum(p.numel() for p in model.parameters()), blocked, factors, forward_gflop(config, shape))


def read_units(path: Path, device: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if device in row["device"]]


def seconds(units: list[dict[str, str]], study: str, work: str, forward: float) -> tuple[float, str]:
    """(seconds of one unit, what a unit is).

    Of a study that was not timed, those of the one whose denoiser's forward pass is nearest to its own, at the same
    operations a second; a unit of no passes is taken as it is. Where a work was measured in several settings, the
    cheapest counts: it is the one to choose.
    """
    passed = {row["study"]: float(row["gflop"]) for row in units if row["work"] == "measure"}  # one forward pass
    nearest = min(passed, key=lambda other: (other != study, abs(math.log(passed[other] / forward))))
    rows = [row for row in units if row["work"] == work and row["study"] == nearest]
    best = min(rows, key=lambda row: float(row["seconds"]))
    scale = forward / passed[nearest] if float(best["gflop"]) else 1.0
    return scale * float(best["seconds"]), best["unit"]


def costs(study: str, units: list[dict[str, str]], train: int | None) -> list[dict[str, Any]]:
    """One row a rule, the longest first."""
    config = config_of(study)
    sizes = sizes_of(config, SHAPES[config["data"]["dataset"]])
    jobs, done, written = defaultdict(int), defaultdict(float), defaultdict(float)
    for rule, job in plan(study):
        jobs[rule] += 1
        if rule in TERMS:
            term = TERMS[rule]
            more = (train / config["data"]["train"]) ** term.power if train and job.get("set") != "queries" else 1.0
            done[rule] += more * term.units(config, job)
            written[rule] += (more if term.power else 1.0) * term.size(config, job, sizes)
    rows = []
    for rule in jobs.keys() & TERMS.keys():
        cost, unit = seconds(units, study, TERMS[rule].work, sizes.forward)
        row = {"study": study, "rule": rule, "jobs": jobs[rule], "units": f"{done[rule]:.4g}", "unit": unit}
        row |= {"hours": f"{done[rule] * cost / 3600:.3g}", "gigabytes": f"{written[rule] / 1e9:.3g}"}
        rows.append(row)
    rows.sort(key=lambda row: (-float(row["hours"]), row["rule"]))
    others = sum(count for rule, count in jobs.items() if rule not in TERMS)
    return [
        *rows,
        {"study": study, "rule": "others", "jobs": others} | dict.fromkeys(("units", "unit", "hours", "gigabytes"), ""),
    ]


def check(study: str, units: list[dict[str, str]]) -> None:
    """CPU seconds that the units predict beside those that the receipts of a finished study record, rule by rule."""
    recorded = defaultdict(float)
    for path in (ROOT / "results" / study).rglob("receipt.json"):
        entry = json.loads(path.read_text(encoding="utf-8"))
        recorded[entry["step"]] += entry["run"]["cpu_seconds"]
    print("rule,predicted_s,recorded_s,ratio")
    for row in costs(study, units, None):
        if row["hours"] and recorded[row["rule"]]:
            predicted = 3600 * float(row["hours"]) + STARTING * row["jobs"]
            measured = recorded[row["rule"]]
            print(f"{row['rule']},{predicted:.1f},{measured:.1f},{predicted / measured:.2f}")


if __name__ == "__main__":
    main()
