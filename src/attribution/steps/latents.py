"""Encode the dataset once, and draw the study's training set and held-out pool from the latents.

Writes train.safetensors and heldout.safetensors as the step `dataset` does, with latents [N, c, h, w] float32 for
images, not bounded by 1; and autoencoder.safetensors, the autoencoder itself, by which latents are shown.
"""

from pathlib import Path

import numpy as np
import torch

from attribution.core import device as devices
from attribution.core.store import StoredTensors, load_meta, save_tensors
from attribution.data.dataset import Dataset
from attribution.data.provide import provide
from attribution.data.split import split
from attribution.diffusion import autoencoder
from attribution.provenance.job import Job, main
from attribution.workflow.dvc import dataset_path

OUTPUTS = {
    "train.safetensors": "tolerance",
    "heldout.safetensors": "tolerance",
    "autoencoder.safetensors": "bitwise",
}
BATCH = 64  # images in one pass: memory, not results


def run(job: Job) -> None:
    """Both files are pinned by dvc.lock: the dataset, and the autoencoder that data.autoencoder names."""
    spec, device = job.spec, devices.choose(job.record)
    data = spec["data"]
    path, weights = (Path(dataset_path(name)) for name in (data["dataset"], data["autoencoder"]))
    provide(path, data["dataset"], spec["dvc_md5"])
    provide(weights, data["autoencoder"], spec["autoencoder_md5"])
    model = autoencoder.load(weights, device)
    stored, meta = StoredTensors(path), load_meta(path)
    latents = autoencoder.encode(model, stored["images"], BATCH).numpy()
    whole = Dataset(**meta, images=latents, labels=stored["labels"].numpy(), split=stored["split"].numpy())
    drawn = split(whole, spec["seed"], data["train"])
    about = {"dataset": whole.name, "source": whole.source, "licence": whole.licence, "latents": data["autoencoder"]}
    for name, rows in (("train", drawn.train), ("heldout", drawn.heldout)):
        tensors = {"images": whole.images[rows], "labels": whole.labels[rows], "index": np.asarray(rows)}
        save_tensors(job.out / f"{name}.safetensors", tensors, about)
    autoencoder.save(job.out / "autoencoder.safetensors", model)
    job.record["spread"] = float(torch.from_numpy(latents).std())  # about 1 where the scaling factor fits


if __name__ == "__main__":
    main(run, OUTPUTS)
