"""Counterfactual retraining as tables: what leaving out a method's examples does, beside a random removal of that size.

A row is a method, from its reported numbers: `leave_k_out.<method>.<measure>.<statistic>`, or `joint.` of the protocol
with one list for all queries (evaluation/counterfactual.py says what the statistics are). Methods with the largest rise
of the loss come first; the last row is what another seed alone changes.
"""

from collections.abc import Mapping

from attribution.reporting.names import name
from attribution.reporting.numbers import Number, markdown, show

CONTROL, FLOOR = "random", "noise_floor"
COLUMNS = {  # the end of an id -> its head
    "loss": "Rise of the loss",
    "loss.over_control": "more than random",
    "loss.auc": "AUC",
    "pixel_l2": "Pixel distance",
    "pixel_l2.ratio": "Ratio, %",
    "pixel_l2.auc": "AUC",
    "ssim.ratio": "SSIM ratio, %",
    "feature.ratio": "Feature ratio, %",
    "feature.hit": "Hit rate",
}


def leave_k_out_markdown(numbers: Mapping[str, Number]) -> str:
    """Each query's own list left out."""
    return _markdown(numbers, "leave_k_out")


def joint_markdown(numbers: Mapping[str, Number]) -> str:
    """The lists of all queries left out together, as in Serrà et al. 2026, with the number of examples removed."""
    return _markdown(numbers, "joint")


def _markdown(numbers: Mapping[str, Number], protocol: str) -> str:
    methods = {key.split(".")[1] for key in numbers if key.startswith(f"{protocol}.") and key.endswith(".loss.auc")}
    methods = {method for method in methods if not method.endswith("_collateral")}
    if not methods:
        return "This study has no counterfactual retraining."
    ordered = sorted(methods, key=lambda method: (-numbers[f"{protocol}.{method}.loss"]["value"], method))
    counted = [f"{protocol}.{method}.removed" for method in ordered]
    removed = all(key in numbers for key in counted)
    heads = ["Method", *(["Removed"] if removed else []), *COLUMNS.values()]
    lines = [heads, [":--", *["--:"] * (len(heads) - 1)]]
    for method, key in zip(ordered, counted, strict=True):
        first = [show(numbers[key])] if removed else []
        lines.append([name(method), *first, *(_cell(numbers, protocol, method, column) for column in COLUMNS)])
    if any(key.startswith(f"leave_k_out.{FLOOR}.") for key in numbers):
        floor = (_cell(numbers, "leave_k_out", FLOOR, column) for column in COLUMNS)
        lines.append(["*Another seed alone*", *([""] if removed else []), *floor])
    return markdown(lines)


def _cell(numbers: Mapping[str, Number], protocol: str, method: str, column: str) -> str:
    """Empty where there is no such number, and for what compares the control with itself."""
    entry = numbers.get(f"{protocol}.{method}.{column}")
    itself = method == CONTROL and "." in column and protocol == "leave_k_out"
    return "" if entry is None or itself else show(entry)
