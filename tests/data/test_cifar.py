"""Archives of the official layout are read without running code; damaged, partial and hostile ones are refused."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from attribution.data import cifar, download
from attribution.data.synthetic import python2_pickle
from attribution.errors import StudyError
from attribution.steps.build_dataset import build
from attribution.workflow import datasets
from attribution.workflow.dvc import file_md5

PER_BATCH = 4


def batch(seed, labels=None):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8)
    labels = [int(label) for label in generator.integers(0, 10, PER_BATCH)] if labels is None else labels
    return {"batch_label": "batch", "data": pixels, "labels": labels, "filenames": ["a.png"] * PER_BATCH}


def members():
    """The official files, tiny: five training batches, the test batch and the label names, as pickles."""
    files = {f"data_batch_{part}": python2_pickle(batch(part)) for part in range(1, 6)}
    files["data_batch_2"] = python2_pickle(batch(2, [1, 7, 0, 1]))
    files["test_batch"] = python2_pickle(batch(6, [7, 3, 1, 9]))
    files["batches.meta"] = python2_pickle({"label_names": ["airplane", "automobile"]})
    return files


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, blob in files.items():
            info = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))
    return path


def test_the_pickles_of_this_test_are_of_the_official_kind():
    """Without it the tests below would also pass for a reader that only knows Python 3's pickles."""
    blob = members()["data_batch_1"]
    assert blob.startswith(b"\x80\x02}")
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in blob
    assert set(pickle.loads(blob, encoding="bytes")) == {b"batch_label", b"data", b"labels", b"filenames"}


def test_round_trip(tmp_path):
    found = cifar.cifar10(archive(tmp_path / "cifar.tar.gz", members()))
    assert found.images.shape == (24, 3, 32, 32)
    assert found.split.tolist() == [0] * 20 + [1] * 4
    for part in range(1, 6):
        rows = slice((part - 1) * PER_BATCH, part * PER_BATCH)
        # float32 (x / 127.5 - 1) is within 1e-7 of exact; planes read as [32, 32, 3] would miss by about 0.7.
        expected = batch(part)["data"].astype(float).reshape(-1, 3, 32, 32) / 127.5 - 1.0
        np.testing.assert_allclose(found.images[rows], expected, rtol=0, atol=2e-7)
    assert found.labels[4:8].tolist() == [1, 7, 0, 1]
    assert np.abs(found.images).max() <= 1.0


def test_order_of_members_in_the_archive_does_not_matter(tmp_path):
    files = members()
    plain = cifar.cifar10(archive(tmp_path / "a.tar.gz", files))
    mixed = cifar.cifar10(archive(tmp_path / "b.tar.gz", dict(reversed(files.items()))))
    np.testing.assert_array_equal(plain.images, mixed.images)


def test_cifar2_keeps_automobiles_and_horses_of_both_parts(tmp_path):
    path = archive(tmp_path / "cifar.tar.gz", members())
    whole, two = cifar.cifar10(path), cifar.cifar2(path)
    kept = [row for row, label in enumerate(whole.labels) if label in (1, 7)]
    np.testing.assert_array_equal(two.images, whole.images[kept])
    assert two.labels[two.split == 1].tolist() == [7, 1]


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    files = members() | {"data_batch_3": pickle.dumps(Hostile(marker), protocol=2)}
    with pytest.raises(StudyError, match=r"refused \(it asks for (posix|os)\.mkdir") as caught:
        cifar.cifar10(archive(tmp_path / "cifar.tar.gz", files))
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    pickle.loads(files["data_batch_3"])  # the plain reader does run it: the pickle is a real attack
    assert marker.exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated_archives_are_named(tmp_path, kept):
    path = archive(tmp_path / "cifar.tar.gz", members())
    blob = path.read_bytes()
    path.write_bytes(blob[: int(len(blob) * kept)])
    with pytest.raises(StudyError, match=r"cifar\.tar\.gz: truncated or not a tar archive .*fetch it again") as caught:
        cifar.cifar10(path)
    assert "\n" not in str(caught.value)


def test_missing_archive_missing_batch_and_wrong_contents(tmp_path):
    with pytest.raises(StudyError, match="absent"):
        cifar.cifar10(tmp_path / "absent.tar.gz")
    for change, line in [
        ({"test_batch": None}, "test_batch is missing"),
        ({"data_batch_1": b"junk"}, "not the official"),
        ({"data_batch_1": python2_pickle({"labels": [1]})}, "not the official"),
        ({"data_batch_1": python2_pickle(batch(1) | {"data": np.zeros((4, 9), np.uint8)})}, r"uint8 \(4, 9\)"),
        ({"data_batch_1": python2_pickle(batch(1, [1, 2, 3, 10]))}, r"labels outside 0\.\.9"),
    ]:
        files = {name: blob for name, blob in (members() | change).items() if blob is not None}
        with pytest.raises(StudyError, match=line):
            cifar.cifar10(archive(tmp_path / "cifar.tar.gz", files))


def test_named_archive_must_exist_and_be_the_official_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR10_ARCHIVE", str(tmp_path / "absent.tar.gz"))
    with pytest.raises(StudyError, match=r"CIFAR10_ARCHIVE=.*no such file"):
        build("cifar10", tmp_path / "out")
    path = archive(tmp_path / "mine.tar.gz", members())
    monkeypatch.setenv("CIFAR10_ARCHIVE", str(path))
    with pytest.raises(
        StudyError, match=r"mine\.tar\.gz: not the official archive \(md5 [0-9a-f]{32}, expected c58f3010"
    ):
        build("cifar2", tmp_path / "out")
    facts = datasets.declared()["cifar2"]
    monkeypatch.setitem(facts, "fetched", facts["fetched"] | {"md5": file_md5(path)})
    with pytest.raises(StudyError, match=r"cifar2: its source holds images \(5, 3, 32, 32\), declared are \(12000, 3"):
        build("cifar2", tmp_path / "out")
    monkeypatch.setitem(facts, "images", 5)
    build("cifar2", tmp_path / "out")
    assert (tmp_path / "out").exists()


def test_archive_is_fetched_where_absent_and_failures_are_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("CIFAR10_ARCHIVE", raising=False)
    there = archive(tmp_path / "cifar-10-python.tar.gz", members())
    known = datasets.facts("cifar10")["fetched"] | {"url": there.as_uri(), "md5": file_md5(there)}
    (tmp_path / "data").mkdir()
    fetched = download.source(known, tmp_path / "data")
    assert fetched.parent == tmp_path / "data"
    assert fetched.read_bytes() == there.read_bytes()
    fetched.unlink()
    there.unlink()
    with pytest.raises(StudyError, match=r"cannot be fetched .*name the file in CIFAR10_ARCHIVE") as caught:
        download.source(known, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").iterdir())
