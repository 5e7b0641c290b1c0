"""Build one file that studies start from, a dataset or an autoencoder; what such stages of dvc.yaml run.

    python -m attribution.steps.build_dataset digits --out data/digits.safetensors

The same source gives the same bytes, so the MD5 in dvc.lock identifies the file on every machine. Sources lie in
data/raw, or where a variable says (docs/studies.md); those of the tiny ones are made there first.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from attribution.data import artbench, cifar, dataset, digits, mnist, synthetic
from attribution.data.dataset import Dataset
from attribution.data.download import cifar10_archive, local
from attribution.diffusion import autoencoder
from attribution.errors import StudyError

RAW = "raw"  # in the folder of the datasets
ART = "artbench-10-imagefolder-split.tar"
LOADERS: dict[str, Callable[[Path], Dataset]] = {  # each takes the folder that sources may lie in
    "digits": lambda _folder: digits.load(),
    "cifar10": lambda folder: cifar.cifar10(cifar10_archive(folder)),
    "cifar2": lambda folder: cifar.cifar2(cifar10_archive(folder)),
    "mnist": lambda folder: mnist.mnist(local("MNIST_SOURCE", folder / RAW / "mnist", "the idx files of MNIST")),
    "artbench": lambda folder: artbench.artbench(local("ARTBENCH_SOURCE", folder / RAW / ART, "the archive")),
    "cifar10_tiny": lambda folder: cifar.cifar10(synthetic.cifar(folder / RAW / "tiny/cifar.tar.gz"), "cifar10_tiny"),
    "cifar2_tiny": lambda folder: cifar.cifar2(synthetic.cifar(folder / RAW / "tiny/cifar.tar.gz"), "cifar2_tiny"),
    "mnist_tiny": lambda folder: mnist.mnist(synthetic.mnist(folder / RAW / "tiny/mnist"), "mnist_tiny"),
    "artbench_tiny": lambda folder: artbench.artbench(synthetic.artbench(folder / RAW / "tiny" / ART), "artbench_tiny"),
}


def _sd2(folder: Path) -> Path:
    return local("SD2_AUTOENCODER", folder / RAW / "sd2_autoencoder", "the folder `vae` of Stable Diffusion 2")


def _tiny(folder: Path) -> Path:
    path = folder / RAW / "tiny/autoencoder"
    autoencoder.tiny().save_pretrained(path)
    return path


AUTOENCODERS: dict[str, Callable[[Path], Path]] = {"sd2_autoencoder": _sd2, "tiny_autoencoder": _tiny}


def build(name: str, out: Path | str) -> None:
    """Write what is called `name` to `out`; raises StudyError for an unknown name or an unusable source."""
    folder = Path(out).parent
    if name in AUTOENCODERS:
        autoencoder.save(Path(out), autoencoder.from_folder(AUTOENCODERS[name](folder)))
    elif name in LOADERS:
        dataset.save(out, LOADERS[name](folder))
    else:
        raise StudyError(f"data.dataset: {name!r} is not known; choose one of {', '.join(LOADERS)}")


def main(arguments: list[str]) -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(prog="python -m attribution.steps.build_dataset", description=__doc__)
    parser.add_argument("name", choices=sorted((*LOADERS, *AUTOENCODERS)))
    parser.add_argument("--out", required=True, type=Path)
    flags = parser.parse_args(arguments)
    try:
        build(flags.name, flags.out)
    except StudyError as error:
        sys.exit(f"build_dataset: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
