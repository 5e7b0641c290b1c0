"""The CSV files of benchmarks/ as Markdown tables: which columns are shown, under which heads."""

import csv

from attribution.errors import StudyError
from attribution.reporting import numbers

TABLES = {  # file -> column -> head
    "peers": {
        "work": "Work",
        "peer": "Beside",
        "ours_s": "Here, s",
        "peer_s": "There, s",
        "ratio": "Ratio",
        "ours_mb": "Here, MB",
        "peer_mb": "There, MB",
    },
    "units": {
        "study": "Denoiser of",
        "device": "Device",
        "work": "Work",
        "setting": "Setting",
        "unit": "Unit",
        "seconds": "Seconds a unit",
        "tflops": "TFLOP/s",
        "gb": "GiB held",
    },
    "scale": {
        "study": "Study",
        "rule": "Rule",
        "jobs": "Jobs",
        "units": "Units",
        "unit": "Unit",
        "hours": "GPU hours",
        "gigabytes": "GB written",
    },
    "slopes": {
        "work": "Work",
        "axis": "Axis",
        "seconds_expected": "Time, expected",
        "seconds_slope": "found",
        "seconds_low": "from",
        "seconds_high": "to",
        "mb_expected": "Memory, expected",
        "mb_slope": "found",
        "mb_low": "from",
        "mb_high": "to",
    },
}
WORDS = ("work", "peer", "study", "device", "setting", "unit", "rule", "axis")  # columns that are no numbers


def markdown(name: str, text: str) -> str:
    """The CSV text of the benchmark `name` as a Markdown table. Raises StudyError where a column is missing."""
    columns, rows = TABLES[name], list(csv.DictReader(text.splitlines()))
    if missing := [column for column in columns if any(row.get(column) is None for row in rows)]:
        raise StudyError(f"table of benchmarks {name}: the column {missing[0]} is missing; run `make bench`")
    lines = [list(columns.values()), [":--" if column in WORDS else "--:" for column in columns]]
    lines += [[row[column] for column in columns] for row in rows]
    return numbers.markdown(lines)
