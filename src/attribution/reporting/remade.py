"""Tables that pages hold and no study publishes as a file: made anew with Python alone, for an audit."""

from collections.abc import Mapping
from pathlib import Path

from attribution.provenance.ledger import PUBLISHED
from attribution.reporting import benchmarks
from attribution.reporting.counterfactual_table import joint_markdown, leave_k_out_markdown
from attribution.reporting.numbers import Number

OF_NUMBERS = {"joint": joint_markdown, "leave_k_out": leave_k_out_markdown}


def table(root: Path, name: str, numbers: Mapping[str, Number]) -> str | None:
    """The table of that name, of the published benchmarks or of a study's numbers; None where it is of another kind."""
    file = root / PUBLISHED / "benchmarks" / f"{name}.csv"
    if name in benchmarks.TABLES and file.is_file():
        return benchmarks.markdown(name, file.read_text(encoding="utf-8"))
    return OF_NUMBERS[name](numbers) if name in OF_NUMBERS else None
