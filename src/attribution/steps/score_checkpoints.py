"""Score by inner products of gradients at checkpoints of the training. Writes scores.safetensors (steps/scoring.py)."""

from attribution.core.store import load_tensors
from attribution.provenance.job import Job, main
from attribution.steps import scoring

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (products, settings) -> [1, Q, N]."""
    products = load_tensors(job.input("products"))
    _, queries, examples = products["averaged"].shape
    scoring.save(job, scoring.function(job)(products, scoring.settings(job)), queries, examples)


if __name__ == "__main__":
    main(run, OUTPUTS)
