"""Gather the reported numbers of a study from its metric files, each with the receipt of the job that measured it.

Writes numbers.json: id -> {value, interval, n, unit, source, receipt}.
"""

from pathlib import Path

from attribution.core.store import load_json, load_tensors, save_json
from attribution.evaluation.intervals import difference
from attribution.provenance import receipt
from attribution.provenance.job import Job, main
from attribution.reporting import numbers

OUTPUTS = {"numbers.json": "tolerance"}
REFERENCE = "ekfac"  # the method that others are compared with, paired, where the study has it


def run(job: Job) -> None:
    """LDS of every method, paired differences to the reference, ceiling, seed control, retraining without the top."""
    methods = job.spec["methods"]
    records = dict(zip(sorted(methods), job.inputs["lds"], strict=True))
    arrays = dict(zip(sorted(methods), job.inputs["arrays"], strict=True))
    parts = []
    for name, path in records.items():
        record = load_json(path)
        parts.append(numbers.lds_numbers(name, record["kinds"], *_origin(path)))
        for target, kinds in record["targets"].items():
            found = numbers.lds_numbers(name, kinds, *_origin(path))
            parts.append({f"{key}.{target}": entry for key, entry in found.items() if key.startswith("lds.")})
    if REFERENCE in methods:
        for other in sorted(set(methods) - {REFERENCE}):
            compared = _differences(
                records[REFERENCE], arrays[REFERENCE], records[other], arrays[other], job.spec["evaluation"]["coverage"]
            )
            parts.append(numbers.difference_numbers(REFERENCE, other, compared, *_origin(records[REFERENCE])))
    path = job.input("ceiling")
    ceiling = load_json(path)
    parts.append(numbers.ceiling_numbers(ceiling["ceiling"]["kinds"], *_origin(path)))
    if ceiling["control"]:
        parts.append(numbers.control_numbers(ceiling["control"]["kinds"], *_origin(path)))
    path = job.input("removal")
    parts.append(numbers.removal_numbers(load_json(path)["percents"], *_origin(path)))
    save_json(job.out / "numbers.json", numbers.assemble(parts))


def _origin(path: Path) -> tuple[str, str]:
    """Source and receipt of a number: the metric file and the id of the job that wrote it."""
    return path.as_posix(), receipt.read(path.parent)["id"]


def _differences(first: Path, first_arrays: Path, second: Path, second_arrays: Path, coverage: float) -> dict:
    """Kind -> {value, interval, n} of first minus second, on the same resamples."""
    a, b = load_json(first)["kinds"], load_json(second)["kinds"]
    spread_a, spread_b = load_tensors(first_arrays), load_tensors(second_arrays)
    return {
        kind: {"n": a[kind]["n"]}
        | difference(
            a[kind]["lds"],
            spread_a[f"replicates_{kind}"],
            b[kind]["lds"],
            spread_b[f"replicates_{kind}"],
            coverage,
        )
        for kind in a
    }


if __name__ == "__main__":
    main(run, OUTPUTS)
