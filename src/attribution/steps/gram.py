"""Inner products of the gradients: all that similarity scores and TRAK's exact kernel need of them.

Writes gram.safetensors, float64: query_train [Q, N], train_train [N, N], query_norm [Q] and train_norm [N] (squared).
"""

import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_tensors
from attribution.curvature.inner import inner
from attribution.provenance.job import Job, main

OUTPUTS = {"gram.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Products block by block in float64: TRAK inverts the kernel."""
    device = devices.choose()
    job.record |= devices.describe(device)
    train, queries = (load_tensors(job.input(name), "pt", str(device)) for name in ("train", "queries"))
    kernel = inner(train, train)
    norms = sum(part.double().square().flatten(1).sum(1) for part in queries.values())
    save_tensors(
        job.out / "gram.safetensors",
        {
            "query_train": inner(queries, train),
            "train_train": kernel,
            "query_norm": norms,
            "train_norm": torch.diagonal(kernel).clone(),
        },
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
