"""Every retrained model's losses with its subset, put together from the cohorts of a stream.

Writes outcomes.safetensors: replicate [R] and number [S] int64, ascending, members [S, n] int64, the rows of the
training set that the models of a subset saw, and measured.<quantity> [R, S, Q] float64 of every measured quantity; meta
holds the models' names, [R][S]. All that judges by retraining reads this one file: else a study's plan would grow with
cohorts x methods.

Shape letters: R replicates, S subsets, n examples in a subset, Q queries.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps.retrained import MEASURED

OUTPUTS = {"outcomes.safetensors": "bitwise"}


def run(job: Job) -> None:
    """--subsets and --losses: one file a cohort each, in the same order, whatever that is."""
    save_tensors(job.out / "outcomes.safetensors", *collect(job.inputs["subsets"], job.inputs["losses"]))


def collect(subsets: Sequence[Path], losses: Sequence[Path]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and meta as they are written.

    Raises StudyError where cohorts measured other quantities or another number of models than they have subsets, where
    a replicate lacks a subset that another has, or has other examples in it.
    """
    members: dict[int, np.ndarray] = {}
    models: dict[int, dict[int, tuple[str, dict[str, np.ndarray]]]] = {}  # replicate -> subset -> name, quantity -> [Q]
    quantities: set[str] = set()
    for subset_path, loss_path in zip(subsets, losses, strict=True):
        design, meta, found = load_tensors(subset_path), load_meta(subset_path), load_tensors(loss_path)
        quantities = quantities or set(found)
        if set(found) != quantities:
            raise StudyError(f"{loss_path}: holds {_listed(found)}, {losses[0]} {_listed(quantities)}: rerun both")
        for quantity, values in found.items():
            if len(values) != len(design["number"]):
                count = f"{len(values)} models, {subset_path} has {len(design['number'])} subsets"
                raise StudyError(f"{loss_path}: {quantity} of {count}")
        for place, number in enumerate(design["number"].tolist()):
            rows = members.setdefault(number, design["members"][place])
            if not np.array_equal(rows, design["members"][place]):
                raise StudyError(f"{subset_path}: subset {number} is not that of other replicates: rerun the designs")
            of_model = {quantity: values[place] for quantity, values in found.items()}
            models.setdefault(meta["replicate"], {})[number] = meta["names"][place], of_model
    numbers, replicates = sorted(members), sorted(models)
    for replicate in replicates:
        if missing := sorted(set(numbers) - set(models[replicate])):
            raise StudyError(f"replicate {replicate} lacks the subsets {missing}")
    if not replicates:
        raise StudyError("no retrained models: design.subsets and design.replicates must be positive")
    ordered = [[models[replicate][number] for number in numbers] for replicate in replicates]  # [R][S]
    tensors = {
        "replicate": np.array(replicates, dtype=np.int64),
        "number": np.array(numbers, dtype=np.int64),
        "members": np.stack([members[number] for number in numbers]),
    }
    for quantity in sorted(quantities):
        tensors[f"{MEASURED}{quantity}"] = np.stack([np.stack([of[quantity] for _, of in row]) for row in ordered])
    return tensors, {"names": [[name for name, _ in row] for row in ordered]}


def _listed(quantities: Any) -> str:
    return ", ".join(sorted(quantities)) or "nothing"


if __name__ == "__main__":
    main(run, OUTPUTS)
