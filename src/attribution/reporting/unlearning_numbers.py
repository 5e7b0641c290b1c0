"""Reported numbers of attribution by unlearning, what it costs and what cheaper passes keep, and of its judges."""

from collections.abc import Mapping
from typing import Any

from attribution.reporting.numbers import Numbers, number

UNITS = {"steps": "steps", "capped": "share", "without_a_step": "share", "cost": "share", "recall": "share"}
MEASURES = ("cost", "recall", "rank")


def prefilter_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`<method>.unlearning.<what>`, `<method>.draws.<what>`, `<method>.prefilter.<measure>.<by>_<candidates>_<rounds>`.

    record: that of the step prefilter.
    """

    def of(entry: Mapping[str, Any], unit: str) -> Any:
        return number(entry["value"], entry["interval"], entry["n"], unit, source, receipt)

    method = record["method"]
    found = {
        f"{method}.unlearning.{what}": of(entry, UNITS.get(what, "loss"))
        for what, entry in record["unlearning"].items()
    }
    found |= {f"{method}.draws.{what}": of(entry, "correlation") for what, entry in record["draws"].items()}
    for entry in record["prefilter"]:
        setting = f"{entry['by']}_{entry['candidates']}_{entry['rounds']}"
        for measure in MEASURES:
            found[f"{method}.prefilter.{measure}.{setting}"] = of(entry[measure], UNITS.get(measure, "correlation"))
    return found


EFFECTS = {"pixel_l2": "distance", "ssim": "similarity", "feature": "similarity", "loss": "loss"}
STATISTICS = {"ratio": "percent", "auc": "share", "hit": "share", "over_control": None}


def counterfactual_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`leave_k_out.<method>.<measure>[.<statistic>]`, the same of `joint`, `joint.<method>.removed`,
    `joint.<method>_collateral.<measure>[.<statistic>]`, `leave_k_out.noise_floor.<measure>`, and paired differences
    `leave_k_out_difference.<a>_<b>.<measure>` and `joint_difference.<a>_<b>.<measure>`.

    Without a fourth word the mean value after retraining; over_control, ratio, auc, hit against random removals of the
    same size (evaluation.counterfactual). record: that of the step counterfactual.
    """

    def of(entry: Mapping[str, Any], n: Mapping[str, int], unit: str) -> Any:
        return number(entry["value"], entry["interval"], n, unit, source, receipt)

    groups = {("leave_k_out", method): found for method, found in record["leave_k_out"].items()}
    found = {}
    for method, parts in record["joint"].items():
        groups["joint", method] = parts["targets"]
        if "collateral" in parts:
            groups["joint", f"{method}_collateral"] = parts["collateral"]
        n = parts["targets"]["loss"]["n"]
        found[f"joint.{method}.removed"] = number(parts["removed"], None, n, "examples", source, receipt)
    for (protocol, method), measures in groups.items():
        for measure, entry in measures.items():
            unit, key = EFFECTS[measure], f"{protocol}.{method}.{measure}"
            found[key] = of(entry["effect"], entry["n"], unit)
            for statistic, own in STATISTICS.items():
                found[f"{key}.{statistic}"] = of(entry[statistic], entry["n"], own or unit)
    for family in ("leave_k_out_difference", "joint_difference"):
        for pair, measures in record[family].items():
            for measure, entry in measures.items():
                found[f"{family}.{pair}.{measure}"] = of(entry, entry["n"], EFFECTS[measure])
    for measure, entry in record["noise_floor"].items():
        found[f"leave_k_out.noise_floor.{measure}"] = of(entry, entry["n"], EFFECTS[measure])
    return found


def overlap_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`overlap.<method>.<kind>` between queries of one method, `overlap.<a>.<b>` between two methods' lists."""
    found = {}
    for first in record["within"]:
        for second, entry in (record["within"][first] | record["between"][first]).items():
            key = f"overlap.{first}.{second}"
            found[key] = number(entry["value"], entry["interval"], entry["n"], "share", source, receipt)
    return found
