"""Folders and archives of images: each mode has its treatment, each layout its parts and classes, the rest is refused.

The files are written by Pillow here; what they hold is compared with pixels computed by hand.
"""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attribution.data.image_folder import read
from attribution.data.images import decode
from attribution.errors import StudyError
from attribution.workflow import image_files

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)  # [8, 8, 3]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def put(root, files):
    for name, blob in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(blob)
    return root


def shade(value):
    return encoded(Image.fromarray(np.full((4, 4), value, np.uint8)))


def with_alpha(mode):
    """An image whose upper half is seen through."""
    image = Image.fromarray(COLOUR if mode == "RGBA" else RAMP).convert(mode)
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:4] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def on_white(pixels):
    found = pixels.copy()
    found[:4] = 255
    return found


def palette():
    image = Image.fromarray(RAMP // 32)  # eight colours
    image.putpalette([255, 0, 0] * 4 + [0, 0, 255] * 252)
    return image


def sixteen():
    return np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)


RED_BLUE = np.where((RAMP // 32 < 4)[..., None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)

TREATED = {
    "1": (encoded(Image.fromarray(RAMP > 99)), np.where(RAMP > 99, 255, 0), ()),
    "L": (encoded(Image.fromarray(RAMP)), RAMP, ()),
    "L bmp": (encoded(Image.fromarray(RAMP), "BMP"), RAMP, ()),
    "L tiff": (encoded(Image.fromarray(RAMP), "TIFF"), RAMP, ()),
    "LA": (encoded(with_alpha("LA")), on_white(RAMP), ("put on white",)),
    "P": (encoded(palette()), RED_BLUE, ()),
    "P transparent": (
        encoded(palette(), transparency=0),
        np.where((RAMP // 32 == 0)[..., None], 255, RED_BLUE),
        ("put on white",),
    ),
    "RGB": (encoded(Image.fromarray(COLOUR)), COLOUR, ()),
    "RGB webp": (encoded(Image.fromarray(COLOUR), "WEBP", lossless=True), COLOUR, ()),
    "RGBA": (encoded(with_alpha("RGBA")), on_white(COLOUR), ("put on white",)),
    "RGBA opaque": (encoded(Image.fromarray(COLOUR).convert("RGBA")), COLOUR, ()),
    "CMYK": (encoded(Image.fromarray(255 - COLOUR).convert("CMYK"), "TIFF"), 255 - COLOUR, ()),
    # 99.5% of these pixels would be 255 where 16 bits are cut off at 8.
    "I;16": (encoded(Image.fromarray(sixteen())), np.rint(sixteen() / 257), ("16-bit grey scaled to 8 bits",)),
    "I;16 tiff": (
        encoded(Image.fromarray(sixteen()), "TIFF"),
        np.rint(sixteen() / 257),
        ("16-bit grey scaled to 8 bits",),
    ),
}


@pytest.mark.parametrize("case", TREATED)
def test_every_mode_has_its_treatment(case):
    blob, expected, treated = TREATED[case]
    expected = np.asarray(expected, np.uint8)
    expected = expected if expected.ndim == 3 else expected[..., None].repeat(3, -1)
    found = decode(blob, "rgb", "it")
    np.testing.assert_array_equal(found.pixels, expected.transpose(2, 0, 1))
    assert found.treated == treated
    grey = decode(blob, "grey", "it").pixels
    luma = expected @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[0], luma, atol=1)  # rounding; the mean of the channels would miss by tens


def test_16_bit_colour_keeps_its_upper_bits(tmp_path):
    """Pillow writes none, so a PNG is put together by hand; the lower bits kept instead would be noise."""
    import struct
    import zlib

    wide = np.stack([sixteen(), sixteen()[::-1], sixteen()], -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    blob = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(blob, "rgb", "it").pixels, (wide >> 8).transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_turned_upright(orientation):
    """A viewer shows the same picture for each: the stored pixels are those that the orientation undoes."""
    turns = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
    turns |= {
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.T, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    blob = encoded(Image.fromarray(np.ascontiguousarray(turns[orientation](RAMP))), exif=exif)
    found = decode(blob, "grey", "it")
    np.testing.assert_array_equal(found.pixels[0], RAMP)
    assert found.treated == (("turned upright",) if orientation > 1 else ())


def test_what_cannot_be_read_as_meant_is_refused_by_name():
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1])]
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)))
    for blob, line in [
        (encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "Pillow's mode F have no declared meaning"),
        (encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "Pillow's mode I have no declared meaning"),
        (encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), "2 frames or pages"),
        (encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "2 frames or pages"),
        (encoded(frames[0], "GIF"), "no image of JPEG, PNG"),
        (whole[: len(whole) // 2], "truncated or damaged"),
        (b"", "no image of JPEG, PNG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "it: "),
        (
            encoded(Image.fromarray(np.zeros((1025, 1024), np.uint8))),
            "1024 x 1025 pixels are more than 1048576; refused",
        ),
    ]:
        with pytest.raises(StudyError, match=line) as caught:
            decode(blob, "rgb", "it")
        assert str(caught.value).startswith("it: ")
        assert "BytesIO" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_size_cuts_the_centre_and_resizes():
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = 200
    found = decode(encoded(Image.fromarray(wide)), "grey", "it", 4)
    np.testing.assert_array_equal(found.pixels, np.full((1, 4, 4), 200))  # squeezed, its border would be dark
    assert found.treated == ("resized",)
    large = encoded(Image.fromarray(np.full((2000, 1000), 7, np.uint8)))
    assert decode(large, "grey", "it", 8).pixels.tolist() == np.full((1, 8, 8), 7).tolist()


LAYOUTS = {
    "flat": ({"b.png": 2, "a.png": 1}, [1, 2], [0, 0], [0, 0]),
    "classes": ({"dog/a.png": 1, "cat/a.png": 2, "cat/b.png": 3}, [2, 3, 1], [0, 0, 1], [0, 0, 0]),
    "parts": ({"test/c/1.png": 1, "train/d/2.png": 2, "train/c/3.png": 3}, [3, 2, 1], [0, 1, 0], [0, 0, 1]),
    "parts without classes": ({"train/1.png": 1, "test/2.png": 2}, [1, 2], [0, 0], [0, 1]),
    "upper folder": ({"x/y/Train/c/1.png": 1, "x/y/TEST/c/2.PNG": 2}, [1, 2], [0, 0], [0, 1]),
    "training part alone": ({"train/c/1.png": 1, "train/d/2.png": 2}, [1, 2], [0, 1], [0, 0]),
    # Of these, one each was read where names without ending, in lower case or without folders were the keys.
    "endings": ({"c/1.png": 1, "c/1.jpg": 2, "d/1.bmp": 3}, [2, 1, 3], [0, 0, 1], [0, 0, 0]),
    "case": ({"A.png": 1, "a.png": 2}, [1, 2], [0, 0], [0, 0]),
    "hidden": ({"a.png": 1, "._a.png": 9, ".git/b.png": 9, "__MACOSX/a.png": 9}, [1], [0], [0]),
}


def packed(root, target):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in files:
                archive.write(path, path.relative_to(root))
    else:
        with tarfile.open(target, "w:gz" if target.suffix == ".gz" else "w") as archive:
            archive.add(root, ".")
    return target


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_archives_of_them_are_read_alike(tmp_path, layout):
    files, values, labels, parts = LAYOUTS[layout]
    root = put(tmp_path / "root", {name: shade(value) for name, value in files.items()})
    found = read(root)
    assert found.arrays.images[:, 0, 0, 0].tolist() == values
    assert found.arrays.labels.tolist() == labels
    assert found.arrays.split.tolist() == parts
    assert found.said["images"] == len(values)
    for ending in ("tar", "tar.gz", "zip"):
        again = read(packed(root, tmp_path / f"packed.{ending}"))
        np.testing.assert_array_equal(again.arrays.images, found.arrays.images)
        assert again.arrays.labels.tolist() == labels
        assert again.sha256 == found.sha256


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "holds no images"),
        ({"notes.txt": 1}, "holds no images"),
        ({"a.png": 1, "b.gif": 1}, r"b\.gif: \.gif is not read"),
        ({"a.png": 1, "c/b.png": 1}, "not as deep as other images"),
        ({"c/d/b.png": 1, "c/a.png": 1}, "not as deep as other images"),
        ({"c/d/b.png": 1, "e/f/a.png": 1}, "not as deep as other images"),
        ({"train/c/b.png": 1, "val/c/a.png": 1}, "val/c/a.png: beside train and test, it is in neither"),
        ({"test/c/b.png": 1}, "has a test part alone"),
        ({"Cat/b.png": 1, "cat/a.png": 1}, "Cat and cat differ in case alone"),
    ],
)
def test_layouts_that_fit_nowhere_are_refused_by_name(tmp_path, files, line):
    root = put(tmp_path / "root", {name: shade(value) for name, value in files.items()})
    root.mkdir(exist_ok=True)
    with pytest.raises(StudyError, match=line) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_sizes_colours_and_other_files_are_said(tmp_path):
    colour = encoded(Image.fromarray(COLOUR[:4, :4]))
    root = put(tmp_path / "root", {"a.png": shade(1), "b.png": colour, "notes.txt": b"x"})
    found = read(root)
    assert found.arrays.images.shape == (2, 3, 4, 4)
    assert found.said == {"images": 2, "classes": 1, "other files left out": 1}
    assert read(root, "grey").arrays.images.shape == (2, 1, 4, 4)
    put(root, {"c.png": encoded(Image.fromarray(RAMP))})
    with pytest.raises(StudyError, match=r"a\.png \(4 x 4\) and c\.png \(8 x 8\); write data\.size"):
        read(root)
    assert read(root, "grey", 4).said == {"images": 3, "classes": 1, "resized": 1, "other files left out": 1}


def member(tar, name, blob=b"", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(blob)
    for key, value in changes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(blob))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("/etc/a.png", {}),
        ("../a.png", {}),
        ("c/../../a.png", {}),
        ("C:\\a.png", {}),
        ("a.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("a.png", {"type": tarfile.LNKTYPE, "linkname": "../b.png"}),
        ("a.png", {"type": tarfile.FIFOTYPE}),
        ("a\n.png", {}),
    ],
)
def test_hostile_archives_are_refused_in_a_line_and_write_nothing(tmp_path, monkeypatch, name, changes):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("hostile.tar", "w") as tar:
        member(tar, "good.png", shade(1))
        member(tar, name, b"" if changes else shade(2), **changes)
    with zipfile.ZipFile("hostile.zip", "w") as archive:
        archive.writestr("good.png", shade(1))
        info = zipfile.ZipInfo(name)
        info.external_attr = 0o120777 << 16 if changes else 0
        archive.writestr(info, shade(2))
    for place in ("hostile.tar", "hostile.zip"):
        with pytest.raises(StudyError, match=f"{place}: .*(refused|rename it)") as caught:
            read(Path(place))
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == ["hostile.tar", "hostile.zip"]


def test_damaged_and_swollen_archives_are_one_line(tmp_path):
    root = put(tmp_path / "root", {f"{n}.png": shade(n) for n in range(20)})
    for ending in ("tar", "tar.gz", "zip"):
        whole = packed(root, tmp_path / f"a.{ending}").read_bytes()
        for kept in (0, len(whole) // 3, len(whole) - 200):
            path = tmp_path / f"cut.{ending}"
            path.write_bytes(whole[:kept])
            if ending == "tar" and kept == len(whole) - 200:
                continue  # the padding at its end
            with pytest.raises(StudyError, match=rf"cut\.{ending}: ") as caught:
                read(path)
            assert "\n" not in str(caught.value)
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        member(tar, "a.png", shade(1))
        member(tar, "a.png", shade(2))
    with pytest.raises(StudyError, match=r"a\.png: twice in the archive"):
        read(tmp_path / "twice.tar")
    with zipfile.ZipFile(tmp_path / "swollen.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * (image_files.LARGEST + 1))
    with pytest.raises(StudyError, match=r"a\.png: 67108865 bytes are more than"):
        read(tmp_path / "swollen.zip")


def test_a_member_whose_bytes_were_changed_is_one_line(tmp_path):
    """Its header is whole, so that only the reading of its bytes finds the fault."""
    root = put(tmp_path / "root", {f"{n}.png": shade(n) for n in range(3)})
    path = packed(root, tmp_path / "a.zip")
    blob = bytearray(path.read_bytes())
    blob[blob.index(b"IDAT") + 6] ^= 255
    path.write_bytes(blob)
    with pytest.raises(StudyError, match=r"a\.zip: truncated, or neither .*Bad CRC") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_damaged_bytes_are_read_or_refused_in_a_line(kind):
    """Whatever Pillow's decoders raise for bytes that were changed anywhere: an image, or one line."""
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(Image.fromarray(COLOUR), kind, **({} if kind == "BMP" else {"exif": exif}))
    stream, said = np.random.default_rng(0), []
    for _ in range(300):
        blob = bytearray(whole)
        for at in stream.integers(0, len(blob), int(stream.integers(1, 6))):
            blob[at] = int(stream.integers(256))
        try:
            decode(bytes(blob[: int(stream.integers(1, len(blob) + 1))]), "rgb", "it")
        except StudyError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all(line.startswith("it: ") and "\n" not in line and "BytesIO" not in line for line in said)


def test_links_in_a_folder_are_followed_once(tmp_path):
    root = put(tmp_path / "root", {"c/a.png": shade(1), "d/b.png": shade(2)})
    (root / "e").symlink_to(put(tmp_path / "other", {"z.png": shade(3)}))
    assert len(read(root).arrays.images) == 3
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"gone\.png: "):
        read(root)
    (root / "gone.png").unlink()
    (root / "c/loop").symlink_to(root)
    with pytest.raises(StudyError, match="reached twice by links"):
        read(root)


def test_the_identity_is_kept_for_a_state_of_the_files_and_moves_with_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = put(tmp_path / "root", {"c/a.png": shade(1), "d/b.png": shade(2)})
    first = image_files.summary(root)
    assert first == {"sha256": read(root).sha256, "train": 2, "test": 0, "classes": 2}
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "_bytes", None)  # a second look reads no file
        assert image_files.summary(root) == first
    seen = {first["sha256"]}
    stamp = (root / "c/a.png").stat()
    for change in (
        lambda: (root / "c/a.png").write_bytes(shade(9)),
        lambda: (root / "c/a.png").rename(root / "c/z.png"),
        lambda: (root / "d/b.png").rename(root / "c/b.png"),
        lambda: put(root, {"d/c.png": shade(5)}),
    ):
        change()
        if (root / "c/a.png").exists():
            os.utime(root / "c/a.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # an older time hides nothing
        seen.add(image_files.summary(root)["sha256"])
    (root / "c/notes.txt").symlink_to(tmp_path / "nowhere")  # is no image, and hides no later change
    assert image_files.summary(root)["sha256"] in seen
    (root / "d/c.png").write_bytes(shade(6))
    seen.add(image_files.summary(root)["sha256"])
    assert len(seen) == 6
    with pytest.raises(StudyError, match="nowhere: no such folder or archive"):
        image_files.summary(tmp_path / "nowhere")
