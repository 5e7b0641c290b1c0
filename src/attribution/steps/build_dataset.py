"""Build one dataset file from its source; what the dataset stages of dvc.yaml run.

    python -m attribution.steps.build_dataset digits --out data/digits.safetensors

The same source gives the same bytes, so the MD5 in dvc.lock identifies the dataset on every machine.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from attribution.data import cifar, dataset, digits
from attribution.data.dataset import Dataset
from attribution.data.download import cifar10_archive
from attribution.errors import StudyError

LOADERS: dict[str, Callable[[Path], Dataset]] = {  # each takes the folder that downloads may go to
    "digits": lambda _folder: digits.load(),
    "cifar10": lambda folder: cifar.cifar10(cifar10_archive(folder)),
    "cifar2": lambda folder: cifar.cifar2(cifar10_archive(folder)),
}


def build(name: str, out: Path | str) -> None:
    """Write the dataset called `name` to `out`; raises StudyError for an unknown name or an unusable source."""
    if name not in LOADERS:
        raise StudyError(f"data.dataset: {name!r} is not known; choose one of {', '.join(LOADERS)}")
    dataset.save(out, LOADERS[name](Path(out).parent))


def main(arguments: list[str]) -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(prog="python -m attribution.steps.build_dataset", description=__doc__)
    parser.add_argument("name", choices=sorted(LOADERS))
    parser.add_argument("--out", required=True, type=Path)
    flags = parser.parse_args(arguments)
    try:
        build(flags.name, flags.out)
    except StudyError as error:
        sys.exit(f"build_dataset: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
