"""Images in the Parquet files of Hugging Face's `datasets`: one struct column {bytes, path}, one integer column.

    <folder>/.../train-00000-of-00001.parquet     <folder>/.../test-00000-of-00001.parquet
Files are read in the order of their names, rows in the order of the file.

Shape letters: N images, C H W image.
"""

from pathlib import Path

import numpy as np

from attribution.data.dataset import PARTS, Arrays
from attribution.data.images import decode
from attribution.errors import StudyError


def files(folder: Path) -> dict[str, list[Path]]:
    """Part (train, test) -> its Parquet files in order; empty where there are none."""
    found = {part: sorted(folder.rglob(f"{part}*.parquet")) for part in PARTS}
    return {part: paths for part, paths in found.items() if paths}


def read(folder: Path, mode: str) -> Arrays:
    """All images of a folder in grey or rgb, training part first. Raises StudyError naming a damaged file, or one of
    other form.
    """
    images, labels, split = [], [], []
    for part, paths in files(folder).items():
        for path in paths:
            blobs, numbers = _columns(path)
            images += [decode(blob, mode, f"{path}: row {row}").pixels for row, blob in enumerate(blobs)]
            labels += numbers
            split += [PARTS[part]] * len(numbers)
    if not images:
        raise StudyError(f"{folder}: holds no train*.parquet or test*.parquet")
    if len({image.shape for image in images}) > 1:
        raise StudyError(f"{folder}: its images are not all of one size")
    return Arrays(np.stack(images), np.array(labels, np.int64), np.array(split, np.uint8))


def _columns(path: Path) -> tuple[list[bytes], list[int]]:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise StudyError(f"{path}: truncated or no Parquet file ({' '.join(str(error).split())[:200]})") from error
    kinds = {field.name: field.type for field in table.schema}
    pictures = [n for n, kind in kinds.items() if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    numbers = [n for n, kind in kinds.items() if pyarrow.types.is_integer(kind)]
    if len(pictures) != 1 or not numbers:
        raise StudyError(f"{path}: needs one column of images {{bytes, path}} and one of labels, has {sorted(kinds)}")
    column = table.column(pictures[0]).combine_chunks()
    blobs = pyarrow.compute.struct_field(column, "bytes").to_pylist()
    label = "label" if "label" in numbers else numbers[0]
    if any(blob is None for blob in blobs):
        raise StudyError(f"{path}: an image is stored by its path alone; its bytes are needed")
    return blobs, table.column(label).to_pylist()
