"""python -m attribution.tracking sync STUDY...: mirror studies into MLflow, from the root of the project.

Exit 0 also where nothing could be written (one warning on stderr says so), exit 2 on bad usage.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from attribution.tracking.address import choose
from attribution.tracking.mirror import sync


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; argparse exits with 2 itself."""
    parser = argparse.ArgumentParser(prog="python -m attribution.tracking", description=__doc__.splitlines()[0])
    once = parser.add_subparsers(required=True).add_parser("sync", help="write what is missing")
    once.add_argument("studies", nargs="+", metavar="study", type=_study)
    once.add_argument("--failed", action="append", default=[], metavar="STUDY", help="show this one as failed")
    given = parser.parse_args(arguments)
    for study in given.studies:
        uri, ignored = choose(study, os.environ)
        summary = sync(Path.cwd(), study, uri, study in given.failed)
        for text in (ignored, *summary.warnings):
            if text:
                print(f"tracking: warning: {text}", file=sys.stderr, flush=True)
        print(f"tracking: {study}: {summary.written} runs written, {summary.unchanged} unchanged in {uri}", flush=True)
    return 0


def _study(name: str) -> str:
    if not re.fullmatch(r"\w[\w-]*", name):
        raise argparse.ArgumentTypeError("the name of a study has letters, digits, _ and - only")
    return name


if __name__ == "__main__":
    sys.exit(main())
