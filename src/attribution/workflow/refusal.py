"""How a StudyError ends Snakemake: with its one line and status 1, where Snakemake would print its own traceback."""

import contextlib
import sys
from collections.abc import Iterator

from attribution.errors import StudyError


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """For what the Snakefile calls, around a block or as the decorator of a function of the wildcards."""
    try:
        yield
    except StudyError as error:
        sys.exit(" ".join(str(error).split()))
