"""python -m attribution.tracking {sync,follow}: mirror studies into MLflow, from the root of the project.

Exit 0 also where nothing could be written (one warning on stderr says so), exit 2 on bad usage.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from attribution.tracking.address import VARIABLE, choose, is_http, parse
from attribution.tracking.follow import follow
from attribution.tracking.mirror import sync


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; argparse exits with 2 itself."""
    parser = argparse.ArgumentParser(prog="python -m attribution.tracking", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    once = commands.add_parser("sync", help="write what is missing, once")
    live = commands.add_parser("follow", help=f"write to the server in {VARIABLE} until FILE exists")
    for command in (once, live):
        command.add_argument("studies", nargs="+", metavar="study", type=_study)
    live.add_argument("--stop", required=True, type=Path, metavar="FILE")
    live.add_argument("--interval", type=float, default=10.0, metavar="SECONDS")
    live.add_argument("--parent", type=int, metavar="PID", help="stop too when this process is gone")
    given = parser.parse_args(arguments)
    if given.command == "sync":
        for study in given.studies:
            uri, ignored = choose(study, os.environ)
            summary = sync(Path.cwd(), study, uri)
            for text in (ignored, *summary.warnings):
                if text:
                    _warn(text)
            print(
                f"tracking: {study}: {summary.new} new, {summary.updated} updated, {summary.unchanged} unchanged"
                f" in {parse(uri).uri}"
            )
    elif is_http(os.environ.get(VARIABLE, "")):
        os.nice(10)
        follow(Path.cwd(), given.studies, os.environ[VARIABLE], given.stop, given.interval, _warn, given.parent)
    else:
        _warn(f"{VARIABLE} is no http(s) address: nothing to follow; sync writes the local mirror")
    return 0


def _study(name: str) -> str:
    if not re.fullmatch(r"\w[\w-]*", name):
        raise argparse.ArgumentTypeError("the name of a study has letters, digits, _ and - only")
    return name


def _warn(text: str) -> None:
    print(f"tracking: warning: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
