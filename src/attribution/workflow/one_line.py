"""How a StudyError ends Snakemake: with its one line and status 1, where Snakemake would print its own traceback."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from attribution.errors import StudyError

Wildcarded = TypeVar("Wildcarded", bound=Callable[[Any], Any])
SIGNATURE = inspect.Signature([inspect.Parameter("wildcards", inspect.Parameter.POSITIONAL_OR_KEYWORD)])


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """For what the Snakefile calls, around a block or as the decorator of a function of the wildcards."""
    try:
        yield
    except StudyError as error:
        sys.exit(" ".join(str(error).split()))


def of_wildcards(function: Wildcarded) -> Wildcarded:
    """Say at once that the function takes the wildcards alone: Snakemake asks for it several times a job."""
    function.__signature__ = SIGNATURE
    return function
