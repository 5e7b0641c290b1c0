"""Score by comparing images: the methods that need no model. Writes scores.safetensors (steps/scoring.py)."""

from attribution.core.store import load_tensors
from attribution.provenance.job import Job, main
from attribution.steps import scoring

OUTPUTS = {"scores.safetensors": "bitwise"}


def run(job: Job) -> None:
    """The method's function of (queries [Q, C, H, W], train [N, C, H, W], settings, seed) -> [Q, N]."""
    queries, train = (load_tensors(job.input(name))["images"] for name in ("queries", "train"))
    scores = scoring.function(job)(queries, train, scoring.settings(job), job.spec["seed"])
    scoring.save(job, scores, len(queries), len(train))


if __name__ == "__main__":
    main(run, OUTPUTS)
