"""Gather the reported numbers of a study from its metric files, each with the receipt of the job that measured it.

Writes numbers.json: id -> {value, interval, n, unit, source, receipt}.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_json, load_tensors, save_json
from attribution.evaluation.intervals import paired
from attribution.provenance import receipt
from attribution.provenance.job import Job, main
from attribution.reporting import numbers, unlearning_numbers
from attribution.reporting.ablation_numbers import ablation_numbers
from attribution.reporting.contributors_numbers import contributors_numbers

OUTPUTS = {"numbers.json": "tolerance"}
REFERENCE = "ekfac"  # the method that others are compared with, paired, where the study has it

Arrays = Mapping[str, np.ndarray]


def run(job: Job) -> None:
    """Numbers of each method, paired differences of methods and dampings, and those of all other metric files."""
    methods, coverage = sorted(job.spec["methods"]), job.spec["evaluation"]["coverage"]
    pairs = compared(methods, job.spec["evaluation"]["compare"])
    places = dict(zip(methods, job.inputs["lds"], strict=True))
    records = {method: load_json(path) for method, path in places.items()}
    arrays = {method: load_tensors(path) for method, path in zip(methods, job.inputs["arrays"], strict=True)}
    parts = []
    for method, record in records.items():
        origin = _origin(places[method])
        parts.append(numbers.lds_numbers(method, record["kinds"], *origin))
        for target, kinds in record["targets"].items():
            found = numbers.lds_numbers(method, kinds, *origin)
            parts.append({f"{key}.{target}": entry for key, entry in found.items() if key.startswith("lds.")})
        parts.append(numbers.tuning_numbers(method, _tuning(record["kinds"], arrays[method], coverage), *origin))
    for a, b in pairs:
        for target, kinds, end in _targets(records[a]):
            differences = _differences(kinds, arrays[a], arrays[b], end, coverage)
            parts.append(numbers.difference_numbers(a, b, differences, *_origin(places[a]), target))
    path = job.input("ceiling")
    ceiling = load_json(path)
    parts.append(numbers.ceiling_numbers(ceiling["ceiling"]["kinds"], *_origin(path)))
    if ceiling["control"]:
        parts.append(numbers.control_numbers(ceiling["control"]["kinds"], *_origin(path)))
    path = job.input("removal")
    parts.append(numbers.removal_numbers(load_json(path)["percents"], pairs, *_origin(path)))
    path = job.input("overestimate")
    parts.append(numbers.overestimate_numbers(load_json(path), *_origin(path)))
    path = job.input("prevalence")
    parts.append(numbers.prevalence_numbers(load_json(path), *_origin(path)))
    for path in job.inputs.get("prefilter", []):
        parts.append(unlearning_numbers.prefilter_numbers(load_json(path), *_origin(path)))
    for path in job.inputs.get("counterfactual", []):
        parts.append(unlearning_numbers.counterfactual_numbers(load_json(path), *_origin(path)))
    for path in job.inputs.get("overlap", []):
        parts.append(unlearning_numbers.overlap_numbers(load_json(path), *_origin(path)))
    for path in job.inputs.get("ablation", []):  # one, or none in a study without encoded ensembles
        parts.append(ablation_numbers(load_json(path), *_origin(path)))
    for path in job.inputs.get("contributors", []):  # likewise
        parts.append(contributors_numbers(load_json(path), *_origin(path)))
    save_json(job.out / "numbers.json", numbers.assemble(parts))


def compared(methods: list[str], asked: list[list[str]]) -> list[tuple[str, str]]:
    """Pairs of methods whose difference is reported, each once: the reference and every other, then those asked for."""
    reference = [(REFERENCE, other) for other in methods if other != REFERENCE] if REFERENCE in methods else []
    return list(dict.fromkeys([*reference, *map(tuple, asked)]))


def _origin(path: Path) -> tuple[str, str]:
    """Source and receipt of a number: the metric file and the id of the job that wrote it."""
    return path.as_posix(), receipt.read(path.parent)["id"]


def _targets(record: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any], str]]:
    """Target, its kinds, and how the names of its spreads end; None and nothing for the loss."""
    yield None, record["kinds"], ""
    for target, kinds in record["targets"].items():
        yield target, kinds, f".{target}"


def _differences(kinds: dict, a: Arrays, b: Arrays, end: str, coverage: float) -> dict[str, Any]:
    """Kind -> {value, interval, n} of method a less method b, paired."""
    return {
        kind: {"n": entry["n"]} | paired(a[f"spread_{kind}{end}"], b[f"spread_{kind}{end}"], coverage)
        for kind, entry in kinds.items()
    }


def _tuning(kinds: dict, spread: Arrays, coverage: float) -> dict[str, Any]:
    """Kind -> {default, least: {value, interval}, n}: the chosen damping less each; nothing without dampings."""
    return {
        kind: {"n": entry["n"]}
        | {to: paired(spread[f"spread_{kind}"], spread[f"spread_{to}_{kind}"], coverage) for to in ("default", "least")}
        for kind, entry in kinds.items()
        if entry["default"] is not None
    }


if __name__ == "__main__":
    main(run, OUTPUTS)
