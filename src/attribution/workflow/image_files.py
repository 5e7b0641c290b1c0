"""The image files of a plain folder or archive: which they are, the part and class of each, and their identity.

    <root>/train/<class>/<file>, <root>/test/<class>/<file>      parts and classes
    <root>/train/<file>, <root>/test/<file>                      parts, no classes
    <root>/<class>/<file>                                        classes
    <root>/<file>                                                neither: all of class 0

Folders above all images count for nothing, and `Train` is `train`. Every image is read under its whole name, so that
names which differ in case, ending or upper folder are different images. Hidden files are left out, files of other kinds
are left out and counted, and what might be meant as an image but cannot be read as one is refused by its name.

Archives (tar, also compressed, and zip) are read as streams: nothing is unpacked, and members that would lie outside,
or are links, are refused. The identity is a hash over parts, classes, names and bytes; it is kept beside the files'
stats, so that a plan hashes a folder once.
"""

import contextlib
import hashlib
import json
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from attribution.errors import StudyError

READ = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MEANT = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".ico", ".ppm", ".pgm", ".exr")
PARTS = ("train", "test")
LARGEST = 1 << 26  # bytes of one file
KEPT = Path(".snakemake", "attribution", "images.json")
DAMAGED = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)

Files = Iterator[tuple[str, Callable[[], bytes]]]  # name below the root, how its bytes are read


class Place(NamedTuple):
    """Part of the source (train or test) and class, empty where there are none."""

    part: str
    label: str


def walk(source: Path) -> Files:
    """Every file that is not hidden, in the source's order. Raises StudyError naming what is not as it should be."""
    if source.is_dir():
        yield from _folder(source)
        return
    with _whole(source):
        with source.open("rb") as file:
            packed = file.read(4) == b"PK\x03\x04"
        yield from (_zip if packed else _tar)(source)


def arranged(source: Path, names: Iterable[str]) -> dict[str, Place]:
    """Where each image belongs, by part, class and name in order. Raises StudyError naming one that fits nowhere."""
    images = [PurePosixPath(name) for name in names if _is_image(source, name)]
    if not images:
        raise StudyError(f"{source}: holds no images ({', '.join(READ)})")
    above = _common([path.parts[:-1] for path in images])
    folded = [folder.casefold() for folder in above]
    above = above[: min((folded.index(part) for part in PARTS if part in folded), default=len(above))]
    inner = {path: path.parts[len(above) :] for path in images}
    tops = {parts[0] for parts in inner.values() if len(parts) > 1}
    split = any(top.casefold() in PARTS for top in tops)
    depths = {len(parts) for parts in inner.values()}
    found = {}
    for path, parts in inner.items():
        part = parts[0].casefold() if split else "train"
        if part not in PARTS:
            raise StudyError(f"{source}: {path}: beside {' and '.join(PARTS)}, it is in neither; move or remove it")
        if len(depths) > 1 or len(parts) > split + 2:
            raise StudyError(f"{source}: {path}: not as deep as other images; write <class>/<file> throughout")
        found[path] = Place(part, parts[-2] if len(parts) == split + 2 else "")
    if not any(place.part == "train" for place in found.values()):
        raise StudyError(f"{source}: has a test part alone; training images lie in train/")
    labels = sorted({place.label for place in found.values()})
    for one, other in pairwise(labels):
        if one.casefold() == other.casefold():
            raise StudyError(f"{source}: classes {one} and {other} differ in case alone; rename one, or join them")
    order = sorted(found, key=lambda path: (PARTS.index(found[path].part), found[path].label, path.stem, str(path)))
    return {str(path): found[path] for path in order}


def digest(places: dict[str, Place], hashes: dict[str, str]) -> str:
    """The identity: SHA-256 over part, class, name and hash of every image."""
    lines = [[*place, name, hashes[name]] for name, place in places.items()]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def summary(source: Path | str) -> dict[str, Any]:
    """`sha256`, numbers of images in `train` and `test`, and number of `classes`; found once for a state of the files.

    Raises StudyError where the source is absent or refused.
    """
    source = Path(source)
    if not source.exists():
        raise StudyError(f"{source}: no such folder or archive")
    key, state = str(source.resolve()), _state(source)
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(KEPT.read_text(encoding="utf-8")).get(key, {})
        if kept.get("state") == state:
            return kept["found"]
    places = arranged(source, [name for name, _ in walk(source)])
    hashes = {name: hashlib.sha256(read()).hexdigest() for name, read in walk(source) if name in places}
    parts = [place.part for place in places.values()]
    found = {"sha256": digest(places, hashes), "train": parts.count("train"), "test": parts.count("test")}
    found["classes"] = len({place.label for place in places.values()})
    _keep(key, {"state": state, "found": found})
    return found


def _is_image(source: Path, name: str) -> bool:
    ending = PurePosixPath(name).suffix.lower()
    if ending in MEANT:
        raise StudyError(f"{source}: {name}: {ending} is not read ({', '.join(READ)} are); convert or remove it")
    return ending in READ


def _common(folders: list[tuple[str, ...]]) -> tuple[str, ...]:
    shortest, longest = min(folders), max(folders)
    count = next((at for at, pair in enumerate(zip(shortest, longest, strict=False)) if pair[0] != pair[1]), None)
    return shortest[:count]


def _folder(source: Path) -> Files:
    seen = set()
    for folder, folders, names in os.walk(source, followlinks=True, onerror=_unreadable):
        if (real := os.path.realpath(folder)) in seen:
            raise StudyError(f"{folder}: reached twice by links; remove the link")
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(name for name in names if not _hidden(name)):
            path = Path(folder, name)
            yield _readable(source, path.relative_to(source).as_posix()), lambda path=path: _bytes(path)


def _unreadable(error: OSError) -> None:
    raise StudyError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise StudyError(f"{path}: no plain file of at most {LARGEST} bytes; refused")
        return path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error


def _tar(source: Path) -> Files:
    with tarfile.open(source, "r:*") as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise StudyError(f"{source}: {member.name}: a link or device in an archive; refused")
            if _inside(source, member.name, member.size) and member.isfile():
                yield (
                    str(PurePosixPath(member.name)),
                    lambda member=member: _taken(source, lambda: tar.extractfile(member).read()),
                )


def _zip(source: Path) -> Files:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
                raise StudyError(f"{source}: {member.filename}: a link, or encrypted; refused")
            if _inside(source, member.filename, member.file_size) and not member.is_dir():
                yield (
                    str(PurePosixPath(member.filename)),
                    lambda member=member: _taken(source, lambda: archive.read(member)),
                )


def _taken(source: Path, read: Callable[[], bytes]) -> bytes:
    with _whole(source):
        return read()


@contextlib.contextmanager
def _whole(source: Path) -> Iterator[None]:
    """What archives raise where they are damaged, as a StudyError naming the archive."""
    try:
        yield
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"{source}: truncated, or neither a folder, tar nor zip archive ({reason})") from error


def _inside(source: Path, name: str, size: int) -> bool:
    """Whether a member counts; StudyError where it would lie outside the archive's own folder, or is too large."""
    parts = PurePosixPath(_readable(source, name)).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name.partition("/")[0]:
        raise StudyError(f"{source}: {name}: a member that would lie outside the archive; refused")
    hidden = any(_hidden(part) for part in parts)
    if size > LARGEST and not hidden:
        raise StudyError(f"{source}: {name}: {size} bytes are more than {LARGEST}; refused")
    return not hidden


def _readable(source: Path, name: str) -> str:
    if not name.isprintable():
        raise StudyError(f"{source}: {name!a}: a name that cannot be printed; rename it")
    return name


def _hidden(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _state(source: Path) -> str:
    """Hash of what tells changed files from unchanged ones without reading them."""
    stats: list[tuple[str, ...]] = []
    for path in [source] if source.is_file() else [source / name for name, _ in _folder(source)]:
        found = path.stat() if path.exists() else path.lstat()  # the latter of a link to nothing
        kept = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        stats.append((str(path), *map(str, kept)))
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _keep(key: str, entry: dict[str, Any]) -> None:
    """Remember what was found; a folder that cannot be written is no error."""
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        part = KEPT.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(kept | {key: entry}, sort_keys=True), encoding="utf-8")
        part.replace(KEPT)
