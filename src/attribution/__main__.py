"""python -m attribution: what is done with a study outside the workflow.

audit [TARGET]   a number, a file, a study or, without one, everything published: hold it against its receipts
why [TARGET]     the jobs that would run, what changed since each last ran, and the seconds it took
cost [STUDY]     jobs, seconds and memory of a study by rule
crate STUDY      write a published study as a Workflow Run RO-Crate to the folder --out
publish STUDY    copy its numbers, tables, figures and receipts to results/published/, and renew the pages
new study NAME   write config/NAME.yaml to start from; --images names a folder or archive of images
readme           renew tables and numbers of README and docs/ from results/published/; --check only says what is stale
new method NAME  write a working attribution method and name it in a study
"""

import argparse
import importlib
import os
import sys
from functools import partial
from pathlib import Path

from attribution.errors import StudyError


def main(arguments: list[str]) -> int:
    """0 done, 1 with one line on stderr where it cannot be done, a link is broken or a page is stale."""
    parser = argparse.ArgumentParser(prog="python -m attribution", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser("audit", help="follow numbers and files back to the data set, hashing what is here")
    audit.add_argument("target", nargs="?", help="lds.ekfac.heldout, smoke/lds.ekfac.heldout, smoke, results/smoke/...")
    audit.add_argument("--all", action="store_true", help="every published number (as without a target)")
    audit.add_argument(
        "--chain", action="store_true", help="published files only: nothing in results/<study> is hashed"
    )
    audit.add_argument("--json", action="store_true", help="for machines")
    audit.add_argument(
        "--rerun", type=int, metavar="K", help="run K jobs of the study again, drawn at random, and compare"
    )
    audit.add_argument("--seed", type=int, help="of that draw; without: another one each time, which is printed")
    why = commands.add_parser("why", help="what would run again, because of what, and how long it took")
    why.add_argument(
        "targets", nargs="*", metavar="target", help="as of snakemake: studies, files; without: all published"
    )
    why.add_argument("--json", action="store_true", help="for machines")
    cost = commands.add_parser("cost", help="what a study cost, by rule")
    cost.add_argument("study", nargs="?", default="digits")
    cost.add_argument("--json", action="store_true", help="for machines")
    crate = commands.add_parser("crate", help="write a published study as a Workflow Run RO-Crate")
    crate.add_argument("study")
    crate.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    commands.add_parser("publish", help="copy a finished study's results to where git keeps them").add_argument("study")
    commands.add_parser("readme", help="renew the pages' tables").add_argument("--check", action="store_true")
    new = commands.add_parser("new", help="write a working file to begin with")
    kinds = new.add_subparsers(dest="kind", required=True)
    study = kinds.add_parser("study", help="config/NAME.yaml, of default settings")
    study.add_argument("name")
    study.add_argument("--images", metavar="DIR", help="a folder, tar or zip archive of images; without: the digits")
    method = kinds.add_parser("method", help="an attribution method, named in a study")
    method.add_argument("name")
    method.add_argument("--reads", default="images", help="what its scores are made of (docs/add-a-method.md)")
    method.add_argument("--study", default="smoke", help="the study whose methods it joins")
    given = parser.parse_args(arguments)
    root = Path.cwd()
    try:
        if given.command == "new":
            print(importlib.import_module(f"attribution.scaffold.{given.kind}").write(root, given))
            return 0
        if given.command == "audit":
            from attribution.provenance.audit import audit as look
            from attribution.provenance.command import again, run
            from attribution.reporting import remade

            if given.rerun is not None:
                return again(root, given.target, given.rerun, given.seed, given.json)
            looked = partial(look, hashed=not given.chain, made=remade.table)
            return run(root, None if given.all else given.target, looked, given.json)
        if given.command in ("why", "cost"):
            from attribution.provenance import command

            return (
                command.why(root, given.targets, given.json)
                if given.command == "why"
                else command.cost(root, given.study, given.json)
            )
        if given.command == "crate":
            from attribution.provenance import crate

            print(f"{given.out}: {crate.write(root, given.study, given.out)} actions")
            return 0
        if given.command == "publish":
            from attribution.reporting.publish import publish

            for warning in publish(root, given.study):
                print(f"warning: {warning}", file=sys.stderr)
        return _readme(root, getattr(given, "check", False))
    except StudyError as error:
        print(f"attribution: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as with `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _readme(root: Path, check: bool) -> int:
    from attribution.core.store import save_text
    from attribution.provenance.page_marks import pages
    from attribution.reporting import readme
    from attribution.reporting.publish import published, tables

    numbers, made, problems, renewed = published(root), tables(root), [], {}
    for path in pages(root):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root)
        if check:
            problems += [f"{name}: {line}" for line in readme.stale(text, numbers, made)]
            continue
        try:
            renewed[path] = readme.update(text, numbers, made)
        except StudyError as error:
            problems.append(f"{name}: {error}")
    for path, text in ({} if problems else renewed).items():
        if text != path.read_text(encoding="utf-8"):
            save_text(path, text)
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
