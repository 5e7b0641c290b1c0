"""Folders, archives and Parquet files of encoded images: one result from all of them, and what is refused."""

import io
import tarfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from attribution.data import cifar, parquet, synthetic
from attribution.data.artbench import artbench
from attribution.data.dataset import Dataset, check
from attribution.errors import StudyError


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return synthetic.artbench(tmp_path_factory.mktemp("artbench") / "artbench-10-imagefolder-split.tar")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def written(path, blobs):
    """A Parquet file as `datasets` writes it."""
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [{"bytes": blob, "path": None} for blob, _ in blobs]
    labels = [label for _, label in blobs]
    columns = {"image": pyarrow.array(rows, kind), "label": pyarrow.array(labels, pyarrow.int64())}
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_an_archive_its_folder_and_parquet_are_one_dataset(archive, tmp_path):
    found = check(Dataset("artbench", "here", "none", *artbench(archive)))
    assert (found.images.shape, found.images.dtype) == ((100, 3, 32, 32), np.uint8)
    assert found.split.tolist() == [0] * 80 + [1] * 20
    assert found.labels.tolist() == [n // 8 for n in range(80)] + [n // 2 for n in range(20)]
    original = synthetic.image("artbench/train", 4, 1, (3, 32, 32)).astype(int)
    gaps = np.abs(found.images - original).mean((1, 2, 3))
    assert gaps.argmin() == 33
    assert gaps[33] < 8  # what JPEG leaves of it
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "folder", filter="data")
        blobs = [(tar.extractfile(member).read(), member.name) for member in tar]
    np.testing.assert_array_equal(artbench(tmp_path / "folder").images, found.images)
    for part in ("train", "test"):
        own = sorted((blob, name) for blob, name in blobs if f"/{part}/" in name)
        own.sort(key=lambda pair: pair[1])
        rows = [(blob, synthetic.STYLES.index(name.split("/")[2])) for blob, name in own]
        written(tmp_path / f"parquet/data/{part}-00000-of-00001.parquet", rows)
    again = artbench(tmp_path / "parquet")
    np.testing.assert_array_equal(again.images, found.images)
    np.testing.assert_array_equal(again.labels, found.labels)
    np.testing.assert_array_equal(again.split, found.split)


def test_cifar_comes_packed_unpacked_and_in_parquet(tmp_path):
    path = synthetic.cifar(tmp_path / "cifar.tar.gz")
    found = cifar.cifar10(path)
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "folder", filter="data")
    np.testing.assert_array_equal(cifar.cifar10(tmp_path / "folder").images, found.images)
    np.testing.assert_array_equal(cifar.cifar10(tmp_path / "folder/cifar-10-batches-py").images, found.images)
    pixels = ((found.images + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    for part, number in (("train", 0), ("test", 1)):
        rows = np.flatnonzero(found.split == number)
        written(tmp_path / f"parquet/{part}.parquet", [(png(pixels[r]), int(found.labels[r])) for r in rows])
    again = cifar.cifar10(tmp_path / "parquet")
    np.testing.assert_allclose(again.images, found.images, atol=1e-6)
    np.testing.assert_array_equal(again.labels, found.labels)


def test_a_truncated_archive_is_one_line(archive, tmp_path):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:30_000])
    with pytest.raises(StudyError, match=r"cut\.tar: (truncated, or n|.*truncated or damaged)") as caught:
        artbench(cut)
    assert "\n" not in str(caught.value)
    cut.write_bytes(b"no archive")
    with pytest.raises(StudyError, match=r"cut\.tar: truncated, or neither a folder, tar nor zip archive"):
        artbench(cut)


def test_parquet_of_other_columns_or_half_a_file_is_refused(tmp_path):
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), path)
    with pytest.raises(StudyError, match=r"train\.parquet: needs one column of images"):
        parquet.read(tmp_path, "rgb")
    written(path, [(png(np.zeros((4, 4, 3), np.uint8)), 1)])
    assert parquet.read(tmp_path, "rgb")[0].shape == (1, 3, 4, 4)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(StudyError, match=r"train\.parquet: truncated or no Parquet file") as caught:
        parquet.read(tmp_path, "rgb")
    assert "\n" not in str(caught.value)
    written(path, [(None, 1)])
    with pytest.raises(StudyError, match="stored by its path alone"):
        parquet.read(tmp_path, "rgb")
    with pytest.raises(StudyError, match=r"holds no train\*\.parquet"):
        parquet.read(tmp_path / "nowhere", "rgb")
