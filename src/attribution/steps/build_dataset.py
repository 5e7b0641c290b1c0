"""Build one file that studies start from, a dataset or an autoencoder; what such stages of dvc.yaml run.

    python -m attribution.steps.build_dataset digits --out data/digits.safetensors

The same source gives the same bytes, so the MD5 in dvc.lock identifies the file on every machine. What there is, and
where its source lies, is what the modules of `attribution.data` declare (workflow/datasets.py).
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from attribution.data import dataset
from attribution.data.download import source
from attribution.diffusion import autoencoder
from attribution.errors import StudyError
from attribution.workflow import datasets

SD2 = {
    "path": "raw/sd2_autoencoder",
    "variable": "SD2_AUTOENCODER",
    "what": "the folder `vae` of Stable Diffusion 2",
}


def _tiny(folder: Path) -> Path:
    path = folder / "raw/tiny/autoencoder"
    autoencoder.tiny().save_pretrained(path)
    return path


AUTOENCODERS: dict[str, Callable[[Path], Path]] = {
    "sd2_autoencoder": lambda folder: source(SD2, folder),
    "tiny_autoencoder": _tiny,
}


def build(name: str, out: Path | str) -> None:
    """Write what is called `name` to `out`; raises StudyError for an unknown name, an unusable source, or images that
    are not as declared.
    """
    folder = Path(out).parent
    if name in AUTOENCODERS:
        autoencoder.save(Path(out), autoencoder.from_folder(AUTOENCODERS[name](folder)))
        return
    facts = datasets.facts(name)
    load = getattr(importlib.import_module(facts["module"]), facts["loader"], None)
    if load is None:
        raise StudyError(f"{facts['module']}: declares the loader {facts['loader']}, which it does not have")
    found = load(source(facts["fetched"], folder))
    declared = (facts["images"], facts["channels"], *facts["size"])
    if found.images.shape != declared:
        raise StudyError(f"{name}: its source holds images {found.images.shape}, declared are {declared}")
    dataset.save(out, dataset.Dataset(name, facts["source"], facts["licence"], *found))


def main(arguments: list[str]) -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(prog="python -m attribution.steps.build_dataset", description=__doc__)
    parser.add_argument("name", choices=sorted((*datasets.declared(), *AUTOENCODERS)))
    parser.add_argument("--out", required=True, type=Path)
    flags = parser.parse_args(arguments)
    try:
        build(flags.name, flags.out)
    except StudyError as error:
        sys.exit(f"build_dataset: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
