"""Inner products of the gradients, or of their sketches: all that similarity scores and TRAK's kernel need of them.

Writes gram.safetensors, float64: query_train [V, N], train_train [N, N], query_norm [V] and train_norm [N] (squared).
V = Q, or Q E where the queries' gradients are of E draws each, query by query; E stands in the file's meta as "draws".

Products are of pairs of parts, each pair once, and block by block: memory holds one block of two files.
With a projection, gradients are sketched file by file, and only the sketches are kept.

Shape letters: Q queries, E draws, N training examples, n examples of a part, O x J shape of a block, D projection.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from attribution.core import device as devices
from attribution.core.store import load_meta, save_tensors
from attribution.curvature import sketch
from attribution.curvature.files import load_gradients
from attribution.curvature.inner import inner
from attribution.provenance.job import Job, main

OUTPUTS = {"gram.safetensors": "tolerance"}

Features = Mapping[str, Tensor]  # block -> [n, O, J], or the one block of a sketch [n, D]


def run(job: Job) -> None:
    """Products block by block in float64: TRAK inverts the kernel."""
    device = devices.choose(job.record)
    kind, dimensions = sketch.parse(job.spec["job"]["projection"])

    def gradients(path: Path) -> Features:
        return load_gradients(path, device)

    def sketched(path: Path) -> Features:
        return {"sketch": sketch.project(gradients(path), kind, dimensions, job.spec["seed"])}

    train, queries = job.inputs["train"], job.input("queries")
    load = gradients if kind == "none" else {path: sketched(path) for path in (*train, queries)}.__getitem__
    query_train, query_norm = _of_queries(load, queries, train)
    kernel = _of_training(load, train)
    save_tensors(
        job.out / "gram.safetensors",
        {
            "query_train": query_train,
            "train_train": kernel,
            "query_norm": query_norm,
            "train_norm": torch.diagonal(kernel).clone(),
        },
        {"draws": load_meta(queries).get("draws", 1)},
    )


def _of_queries(load: Callable[[Path], Features], queries: Path, train: list[Path]) -> tuple[Tensor, Tensor]:
    """Products with all training examples [V, N], and squared norms [V]."""
    left = load(queries)
    norms = sum(part.double().square().flatten(1).sum(1) for part in left.values())
    return torch.cat([inner(left, load(path)) for path in train], 1), norms


def _of_training(load: Callable[[Path], Features], train: list[Path]) -> Tensor:
    """Products of the training examples with each other [N, N]: of every pair of parts once."""
    rows: list[list[Tensor]] = [[] for _ in train]
    for i, path in enumerate(train):
        left = load(path)
        rows[i].append(inner(left, left))
        for j, other in enumerate(train[i + 1 :], i + 1):
            product = inner(left, load(other))
            rows[i].append(product)
            rows[j].append(product.mT)
    return torch.cat([torch.cat(row, 1) for row in rows])


if __name__ == "__main__":
    main(run, OUTPUTS)
