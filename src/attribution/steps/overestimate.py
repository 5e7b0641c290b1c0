"""What influence predicts of the retrained models, in units of the loss, beside what they measured.

Only influence with a curvature of its own predicts changes in units; each method is judged by the quantity that it
differentiates, where that was measured. At the default dampings, which no retrained model had a say in: the size of a
prediction depends on the damping.

Writes overestimate.json: method -> kind -> record of evaluation.calibration; and overestimate.safetensors:
predicted.<method> and actual.<quantity>, [S, Q] each.
"""

from pathlib import Path
from typing import Any

import numpy as np

from attribution.core.store import load_tensors, save_json, save_tensors
from attribution.evaluation.calibration import calibration, changes
from attribution.provenance.job import Job, main
from attribution.steps.retrained import has_units, layer_at, query_kinds, retrained_for

OUTPUTS = {"overestimate.json": "tolerance", "overestimate.safetensors": "tolerance"}


def run(job: Job) -> None:
    """--scores: of all methods, by name; --baseline: losses of the models of all examples under common randomness."""
    methods, settings = job.spec["methods"], job.spec["evaluation"]
    scores = dict(zip(sorted(methods), job.inputs["scores"], strict=True))
    measured = job.spec["measurement"]["quantities"]
    judged = {
        name: of["measurement"] for name, of in methods.items() if has_units(of) and of["measurement"] in measured
    }
    baseline, kinds = load_tensors(job.input("baseline")), query_kinds(job.input("queries"))
    record: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    models = retrained_for(job.input("outcomes"), job.spec["data"]["train"], measured)
    for method, quantity in judged.items():
        predicted, actual = changes(
            _default(scores[method], methods[method].get("damping")),
            models[quantity].masks,
            models[quantity].outcomes,
            baseline[quantity],
        )
        record[method] = calibration(
            predicted, actual, kinds, job.spec["seed"], settings["bootstrap"], settings["coverage"]
        )
        arrays |= {f"predicted.{method}": predicted, f"actual.{quantity}": actual}
    save_json(job.out / "overestimate.json", record)
    save_tensors(job.out / "overestimate.safetensors", arrays)


def _default(path: Path, damping: float | None) -> np.ndarray:
    """Scores [Q, N] at the default damping, those that there are of a method without dampings."""
    scored = load_tensors(path)
    return scored["scores"][0 if damping is None else layer_at(scored, damping)]


if __name__ == "__main__":
    main(run, OUTPUTS)
