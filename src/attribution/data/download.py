"""Where sources come from: fetched and checked against a published MD5, put in place by hand, or made here.

What a data set declares as `fetched` (workflow/datasets.py):

    {url, md5, variable}       fetched beside the data files, unless $variable names a local copy
    {path, variable, what}     `what` has to lie at `path`, or where $variable says
    {path, synthetic}          made at `path` by that function of data/synthetic.py
    {}                         no source: the loader's package ships it
"""

import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from attribution.core.store import atomic
from attribution.errors import StudyError
from attribution.workflow.dvc import file_md5


def source(fetched: dict[str, Any], folder: Path) -> Path | None:
    """The file or folder that a loader reads; paths are relative to `folder`, that of the data files.

    A folder that the variable names is taken as it is: what is read from it is checked against dvc.lock. Raises
    StudyError where it is absent, cannot be fetched or is not the official file.
    """
    if not fetched:
        return None
    if maker := fetched.get("synthetic"):
        from attribution.data import synthetic

        return getattr(synthetic, maker)(folder / fetched["path"])
    variable = fetched["variable"]
    named = os.environ.get(variable)
    if "url" not in fetched:
        found = Path(named) if named else folder / fetched["path"]
        if not found.exists():
            raise StudyError(
                f"{found}: missing; put {fetched['what']} there, or name it in {variable} (docs/studies.md)"
            )
        return found
    path = Path(named) if named else folder / fetched["url"].rpartition("/")[2]
    if path.is_dir():
        return path
    if named and not path.is_file():
        raise StudyError(f"{variable}={named}: no such file")
    if not path.is_file():
        with atomic(path) as part, part.open("wb") as file:
            for block in _blocks(fetched["url"], variable):
                file.write(block)
    if (found := file_md5(path)) != fetched["md5"]:
        raise StudyError(
            f"{path}: not the official archive (md5 {found}, expected {fetched['md5']}); delete it and rerun"
        )
    return path


def _blocks(url: str, variable: str) -> Iterator[bytes]:
    """The bytes behind `url`; network failures are StudyErrors, so that they are told from a full disk."""
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            while block := reply.read(1 << 20):
                yield block
    except (OSError, HTTPException) as error:
        advice = f"download it by hand and name the file in {variable}"
        raise StudyError(f"{url}: cannot be fetched ({error}); {advice}") from error
