"""SHA-256 of files that are looked at again and again: a file is read anew where its size, times or inode changed.

The time of the inode (ctime) is among them, which no program sets: a file of the same size that was given its old time
again is read. One that changed just before it was read may change once more within a tick of the clock, and is not
remembered.
"""

import contextlib
import json
import os
import time
from pathlib import Path

from attribution.provenance import receipt

TICK = 2.0  # seconds; the coarsest of file systems in use


class Hashes:
    """What is kept in one file of findings, which may be absent or damaged."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.known: dict[str, list] = {}
        self.used: dict[str, list] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.known = dict(json.loads(kept.read_text(encoding="utf-8")).items())

    def __call__(self, path: Path) -> str | None:
        """Of the file's bytes; None where there is none."""
        try:
            found = path.stat()
            stamp = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
            entry = self.used.get(str(path)) or self.known.get(str(path))
            if isinstance(entry, list) and entry[:-1] == stamp:
                self.used[str(path)] = entry
                return entry[-1]
            digest = receipt.sha256(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        if time.time() - found.st_ctime > TICK:
            self.used[str(path)] = [*stamp, digest]
        return digest

    def keep(self) -> None:
        """Write what was asked for, where that is other than what was kept."""
        if self.used != self.known:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            part = self.kept.with_name(f"{self.kept.name}.{os.getpid()}.part")
            part.write_text(json.dumps(self.used), encoding="utf-8")
            part.replace(self.kept)
