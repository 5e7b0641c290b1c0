"""Gather the reported numbers of a study from its metric files, each with its place there and the receipt of its job.

Writes derived.json, the paired differences that are computed here, and numbers.json: id -> {value, interval, n, unit,
source, at, receipt}.
"""

from collections.abc import Mapping
from typing import Any

from attribution import pointers
from attribution.core.store import load_json, load_tensors, save_json
from attribution.errors import StudyError
from attribution.evaluation.intervals import paired
from attribution.provenance import receipt
from attribution.provenance.job import Job, main
from attribution.reporting.numbers import assemble, of_file

OUTPUTS = {"numbers.json": "tolerance", "derived.json": "tolerance"}
REFERENCE = "ekfac"  # the method that others are compared with, paired, where the study has it
ARRAYS = "arrays"  # the one input that holds spreads over subsets in place of metrics


def run(job: Job) -> None:
    """Numbers of all metric files, and paired differences of methods and dampings."""
    methods, coverage = sorted(job.spec["methods"]), job.spec["evaluation"]["coverage"]
    asked = compared(methods, job.spec["evaluation"]["compare"])
    pairs = {f"{a}_{b}": (a, b) for a, b in asked}
    if len(pairs) < len(asked):
        raise StudyError("evaluation.compare: two pairs of methods have one name, as a_b and c, a and b_c have")
    records = {method: load_json(path) for method, path in zip(methods, job.inputs["lds"], strict=True)}
    arrays = {method: load_tensors(path) for method, path in zip(methods, job.inputs[ARRAYS], strict=True)}

    def less(a: str, b: str, kind: str, target: str = "", to: str = "") -> dict[str, Any]:
        """Method a less method b, or less b at the damping `to`, of the same subsets: {value, interval, n}."""
        end, at = f".{target}" if target else "", f"{to}_" if to else ""
        spreads = arrays[a][f"spread_{kind}{end}"], arrays[b][f"spread_{at}{kind}{end}"]
        return {"n": _kinds(records[a], target)[kind]["n"]} | paired(*spreads, coverage)

    derived = {
        "lds_difference": {
            pair: {
                target or "loss": {kind: less(a, b, kind, target) for kind in _kinds(records[a], target)}
                for target in ("", *records[a]["targets"])
            }
            for pair, (a, b) in pairs.items()
        },
        "lds_tuning": {
            method: {
                to: {
                    kind: less(method, method, kind, to=to)
                    for kind in _kinds(record)
                    if record["kinds"][kind]["default"]
                }
                for to in ("default", "least")
            }
            for method, record in records.items()
        },
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


def _kinds(record: dict[str, Any], target: str = "") -> dict[str, Any]:
    return record["targets"][target] if target else record["kinds"]


if __name__ == "__main__":
    main(run, OUTPUTS)
