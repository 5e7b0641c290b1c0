"""Draw the study's training set and held-out pool from the dataset that dvc.lock names.

Writes train.safetensors and heldout.safetensors, each with images [N, C, H, W] float32 in [-1, 1], labels [N] int64 and
index [N] int64, the examples' rows in data/<dataset>.safetensors.
"""

from pathlib import Path

from attribution.core.store import save_tensors
from attribution.data import dataset as datasets
from attribution.data.provide import provide
from attribution.data.split import split
from attribution.provenance.job import Job, main
from attribution.workflow.dvc import dataset_path

OUTPUTS = {"train.safetensors": "bitwise", "heldout.safetensors": "bitwise"}


def run(job: Job) -> None:
    """Provide the dataset's file, draw by the study's seed, write both parts."""
    data = job.spec["data"]
    path = Path(dataset_path(data["dataset"]))
    provide(path, data["dataset"], job.spec["dvc_md5"])
    whole = datasets.load(path)
    drawn = split(whole, job.spec["seed"], data["train"])
    meta = {"dataset": whole.name, "source": whole.source, "licence": whole.licence}
    for name, rows in (("train", drawn.train), ("heldout", drawn.heldout)):
        tensors = {"images": whole.images[rows], "labels": whole.labels[rows], "index": rows}
        save_tensors(job.out / f"{name}.safetensors", tensors, meta)


if __name__ == "__main__":
    main(run, OUTPUTS)
