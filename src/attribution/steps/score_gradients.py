"""Score by inner products of gradients: gradient similarity, and kernels of gradients as TRAK's.

Writes scores.safetensors (steps/scoring.py).
"""

import numpy as np

from attribution.core.store import load_meta, load_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import scoring

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (gram, settings) -> [L, Q, N]; the gram's "draws" are its rows a query."""
    path = job.input("gram")
    gram = load_tensors(path) | {"draws": np.array(load_meta(path).get("draws", 1))}
    scores = scoring.function(job)(gram, scoring.settings(job))
    rows, examples = gram["query_train"].shape
    if scores.ndim == 3 and scores.shape[1] == rows > rows // gram["draws"]:
        name = job.spec["job"]["method"]
        raise StudyError(f"{name}: takes one gradient a query, not {gram['draws']}: choose another measurement")
    scoring.save(job, scores, rows // int(gram["draws"]), examples)


if __name__ == "__main__":
    main(run, OUTPUTS)
