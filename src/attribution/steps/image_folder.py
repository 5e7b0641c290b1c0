"""Draw the study's training set and held-out pool from a plain folder or archive of images (data.folder).

Writes train.safetensors and heldout.safetensors as the step `dataset` does; index [N] counts the images in the order of
part, class and file name. Files that are not those of the plan are refused.
"""

from pathlib import Path

from attribution.core.store import save_tensors
from attribution.data.dataset import Dataset, check
from attribution.data.image_folder import read
from attribution.data.images import to_unit
from attribution.data.split import split
from attribution.errors import StudyError
from attribution.provenance.job import Job, main

OUTPUTS = {"train.safetensors": "bitwise", "heldout.safetensors": "bitwise"}


def run(job: Job) -> None:
    """Read everything, say what it was, draw by the study's seed, write both parts."""
    data = job.spec["data"]
    source = Path(data["folder"])
    found = read(source, data.get("mode"), data.get("size"))
    if found.sha256 != job.spec["images_sha256"]:
        raise StudyError(f"{source}: its images changed after the run was planned: start the run again")
    job.record["read"] = found.said
    print(f"{source}: " + ", ".join(f"{name} {count}" for name, count in found.said.items()))
    whole = check(Dataset(source.name, "a folder of images", "not stated", *found.arrays))
    drawn = split(whole, job.spec["seed"], data["train"])
    meta = {"dataset": whole.name, "source": whole.source, "licence": whole.licence}
    for name, rows in (("train", drawn.train), ("heldout", drawn.heldout)):
        tensors = {"images": to_unit(whole.images[rows]), "labels": whole.labels[rows], "index": rows}
        save_tensors(job.out / f"{name}.safetensors", tensors, meta)


if __name__ == "__main__":
    main(run, OUTPUTS)
