"""MNIST's idx files, as published, as torchvision keeps them, and in Parquet; damaged and hostile ones are refused."""

import gzip
import shutil

import numpy as np
import pytest

from attribution.data import synthetic
from attribution.data.dataset import Dataset, check
from attribution.data.mnist import idx, mnist
from attribution.errors import StudyError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.mnist(tmp_path_factory.mktemp("mnist"))


def test_digits_stand_in_a_border(folder):
    found = check(Dataset("mnist", "here", "none", *mnist(folder)))
    assert found.images.shape == (500, 1, 32, 32)
    assert found.split.tolist() == [0] * 400 + [1] * 100
    assert found.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    inner = found.images[:, 0, 2:-2, 2:-2]
    assert (found.images == -1).sum() >= 500 * (32**2 - 28**2)
    assert found.images.sum() == pytest.approx(inner.sum() - 500 * (32**2 - 28**2), rel=1e-5)
    expected = synthetic.image("mnist", 3, 3, (1, 28, 28))[0]
    np.testing.assert_array_equal(inner[3], expected.astype(np.float32) / np.float32(127.5) - 1)


def test_unpacked_files_where_torchvision_keeps_them_are_the_same(folder, tmp_path):
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    for path in folder.iterdir():
        (tmp_path / "MNIST/raw" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(mnist(tmp_path).images, mnist(folder).images)


def header(*axes):
    return bytes([0, 0, 8, len(axes)]) + b"".join(axis.to_bytes(4, "big") for axis in axes)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header(2, 2, 2) + b"1234567", "truncated or damaged"),
        (header(2, 2, 2) + b"123456789", "truncated or damaged"),
        (header(2, 2, 2)[:6], "truncated or damaged"),
        (header(2, 2, 2)[:14], "truncated or damaged"),
        (header(1 << 20, 1 << 10, 1 << 10), "more than MNIST has; refused"),
        (b"\x00\x00\x0d\x03", "not an idx file of bytes"),
        (b"", "not an idx file of bytes"),
    ],
)
def test_files_of_other_sizes_are_refused(tmp_path, content, problem):
    for name, blob in (("plain", content), ("packed.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(blob)
        with pytest.raises(StudyError, match=problem) as caught:
            idx(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_truncated_or_missing_archive_is_one_line(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy/t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StudyError, match=r"t10k-images-idx3-ubyte\.gz: truncated or damaged .*fetch it again"):
        mnist(tmp_path / "copy")
    path.unlink()
    with pytest.raises(StudyError, match=r"t10k-images-idx3-ubyte\.gz: missing"):
        mnist(tmp_path / "copy")
    shutil.copyfile(folder / "train-labels-idx1-ubyte.gz", path.with_name("t10k-labels-idx1-ubyte.gz"))
    shutil.copyfile(folder / "t10k-images-idx3-ubyte.gz", path)
    with pytest.raises(StudyError, match=r"t10k has images .* and labels"):
        mnist(tmp_path / "copy")
