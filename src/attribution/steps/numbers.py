"""Gather the reported numbers of a study from its metric files, each with its place there and the receipt of its job.

Writes derived.json, the paired differences that are computed here, and numbers.json: id -> {value, interval, n, unit,
source, at, receipt}.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attribution import pointers
from attribution.core.store import load_json, load_tensors, save_json
from attribution.evaluation.intervals import difference
from attribution.provenance import receipt
from attribution.provenance.job import Job, main
from attribution.reporting.numbers import assemble, of_file

OUTPUTS = {"numbers.json": "tolerance", "derived.json": "tolerance"}
REFERENCE = "ekfac"  # the method that others are compared with, paired, where the study has it
ARRAYS = "arrays"  # the one input that holds replicates in place of metrics

Arrays = Mapping[str, np.ndarray]


def run(job: Job) -> None:
    """Numbers of all metric files, and paired differences of methods and dampings."""
    methods, coverage = sorted(job.spec["methods"]), job.spec["evaluation"]["coverage"]
    pairs = {f"{a}_{b}": (a, b) for a, b in compared(methods, job.spec["evaluation"]["compare"])}
    records = {method: load_json(path) for method, path in zip(methods, job.inputs["lds"], strict=True)}
    arrays = {method: load_tensors(path) for method, path in zip(methods, job.inputs[ARRAYS], strict=True)}
    derived = {
        "lds_difference": {
            pair: {
                target or "loss": _differences(kinds, _of(records[b], target), arrays[a], arrays[b], end, coverage)
                for target, kinds, end in _targets(records[a])
            }
            for pair, (a, b) in pairs.items()
        },
        "lds_tuning": {method: _tuning(records[method]["kinds"], arrays[method], coverage) for method in methods},
    }
    save_json(job.out / pointers.DERIVED, derived)
    home = job.input("ceiling").parents[2]  # results/<study>, also where this job is run again elsewhere
    parts = [of_file(derived, (home / "summary/numbers" / pointers.DERIVED).as_posix(), job.identity)]
    for path in (path for name, paths in job.inputs.items() if name != ARRAYS for path in paths):
        found = of_file(load_json(path), path.as_posix(), receipt.read(path.parent)["id"])
        parts.append({key: entry for key, entry in found.items() if _asked(key, pairs)})
    save_json(job.out / "numbers.json", assemble(parts))


def compared(methods: list[str], asked: list[list[str]]) -> list[tuple[str, str]]:
    """Pairs of methods whose difference is reported, each once: the reference and every other, then those asked for."""
    reference = [(REFERENCE, other) for other in methods if other != REFERENCE] if REFERENCE in methods else []
    return list(dict.fromkeys([*reference, *map(tuple, asked)]))


def _asked(key: str, pairs: Mapping[str, Any]) -> bool:
    """Whether a number is reported: the file of removals compares every method with every other."""
    family, pair, *_ = key.split(".")
    return family != "retrain_difference" or pair in pairs


def _of(record: dict[str, Any], target: str | None) -> dict[str, Any]:
    return record["kinds"] if target is None else record["targets"][target]


def _targets(record: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any], str]]:
    """Target, its kinds, and how the names of its replicates end; None and nothing for the loss."""
    yield None, record["kinds"], ""
    for target, kinds in record["targets"].items():
        yield target, kinds, f".{target}"


def _differences(a: dict, b: dict, spread_a: Arrays, spread_b: Arrays, end: str, coverage: float) -> dict[str, Any]:
    """Kind -> {value, interval, n} of method a less method b, on the same resamples."""
    return {
        kind: {"n": a[kind]["n"]}
        | difference(
            a[kind]["lds"],
            spread_a[f"replicates_{kind}{end}"],
            b[kind]["lds"],
            spread_b[f"replicates_{kind}{end}"],
            coverage,
        )
        for kind in a
    }


def _tuning(kinds: dict, spread: Arrays, coverage: float) -> dict[str, Any]:
    """What the chosen damping gains over the default one and the least: to -> kind -> {value, interval, n}."""
    return {
        to: {
            kind: {"n": entry["n"]}
            | difference(
                entry["lds"],
                spread[f"replicates_{kind}"],
                entry[to]["lds"],
                spread[f"replicates_{to}_{kind}"],
                coverage,
            )
            for kind, entry in kinds.items()
            if entry["default"] is not None
        }
        for to in ("default", "least")
    }


if __name__ == "__main__":
    main(run, OUTPUTS)
