"""Where every reported number stands: one table, metric file -> number id, JSON pointer (RFC 6901), unit.

A pointer's `{words}` stand for any key there, or any place in a list, and fill the id; `{kind}` is a kind of query,
`{folder}` the folder of the file, and a word that the pointer lacks is a field of the objects around the value. Where a
pointer ends at an object, the number is its `value`. Of two rows that lead to one value the first counts.

Beside a `value`, an `lds` or a `ceiling` stands its `interval`, in the same object; other numbers have none, nor has
one whose interval is open below. `n` is the nearest one around the value, or for those without an interval what the row
says: a fixed count, a field that is counted, or a pointer from the object that holds the value. A null is not reported.

The step `numbers` gathers by this table, and an audit reads the metric files by it again.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

KINDS = ("generated", "heldout", "training")
DERIVED = "derived.json"  # what the step `numbers` computes itself, paired differences, beside its numbers
RECEIPTS = "/run/seconds"  # in every receipt of a step: what its cost is the sum of
WITH_INTERVAL = ("value", "lds", "ceiling")
ENSEMBLE = {"ensembles": 1}  # of what is measured once, on the whole of one
FORMS = {  # unit -> how readers see it; any other by two digits
    "correlation": ".2f",
    "share": ".2f",
    "s": ".0f",
    "loss": ".4f",
    "Fréchet distance": ".1f",
    "percent": ".0f",
    "examples": ".0f",
    "damping": "g",
}
UNITS = {  # of what is measured, where that is no unit by itself
    "pixel_l2": "distance",
    "ssim": "similarity",
    "feature": "similarity",
    "ratio": "percent",
    "auc": "share",
    "hit": "share",
    "diversity": "bits",
}
TABLE: dict[str, tuple[tuple[Any, ...], ...]] = {
    "lds.json": (
        ("lds.{folder}.{kind}", "/kinds/{kind}/lds", "correlation"),
        ("lds.{folder}_default.{kind}", "/kinds/{kind}/default/lds", "correlation"),
        ("lds.{folder}.{kind}.{target}", "/targets/{target}/{kind}/lds", "correlation"),
        ("lds.{folder}_default.{kind}.{target}", "/targets/{target}/{kind}/default/lds", "correlation"),
        ("damping.{folder}.{kind}", "/kinds/{kind}/selected_damping", "damping"),
        ("damping.{folder}_default.{kind}", "/kinds/{kind}/default/damping", "damping"),
    ),
    DERIVED: (
        ("lds_difference.{pair}.{kind}", "/lds_difference/{pair}/loss/{kind}", "correlation"),
        ("lds_difference.{pair}.{kind}.{target}", "/lds_difference/{pair}/{target}/{kind}", "correlation"),
        ("lds_tuning.{method}.{kind}", "/lds_tuning/{method}/default/{kind}", "correlation"),
        ("lds_tuning.{method}_least.{kind}", "/lds_tuning/{method}/least/{kind}", "correlation"),
    ),
    "ceiling.json": (
        ("lds.ceiling.{kind}", "/ceiling/kinds/{kind}/ceiling", "correlation"),
        ("reliability.crn.{kind}", "/control/kinds/{kind}/crn", "correlation"),
        ("reliability.own.{kind}", "/control/kinds/{kind}/own", "correlation"),
        ("reliability.equivalent_replicates.{kind}", "/control/kinds/{kind}/equivalent_replicates", "replicates"),
    ),
    "removal.json": tuple(
        (f"{key}.k{{percent}}{end}", f"/percents/{{percent}}/{kind}/{{method}}{pointer}", "loss")
        for kind, end in (("all", ""), ("{kind}", ".{kind}"))
        for key, pointer in (
            ("retrain_without_top.{method}", ""),
            ("retrain_without_top.{method}_over_random", "/over_control"),
            ("retrain_difference.{method}_{other}", "/over/{other}"),
        )
    ),
    "overestimate.json": (
        ("overestimate.{method}.{kind}.slope", "/{method}/{kind}/slope", "slope"),
        ("overestimate.{method}.{kind}.{measure}", "/{method}/{kind}/{measure}", "share"),
    ),
    "prevalence.json": (
        ("prevalence.{method}.{kind}.distinct", "/methods/{method}/{kind}/distinct", "share"),
        ("prevalence.{method}.{kind}.most", "/methods/{method}/{kind}/most", "share"),
        ("prevalence.{method}.{kind}.overlap", "/methods/{method}/{kind}/overlap", "share"),
        ("norm_correlation.{method}.{kind}", "/methods/{method}/{kind}/norm_correlation", "correlation"),
        ("prevalence_difference.{pair}.{kind}.overlap", "/differences/{pair}/{kind}/overlap", "share"),
        ("norm_correlation_difference.{pair}.{kind}", "/differences/{pair}/{kind}/norm_correlation", "correlation"),
    ),
    "prefilter.json": (
        ("{method}.unlearning.steps", "/unlearning/steps", "steps"),
        ("{method}.unlearning.capped", "/unlearning/capped", "share"),
        ("{method}.unlearning.without_a_step", "/unlearning/without_a_step", "share"),
        ("{method}.unlearning.{what}", "/unlearning/{what}", "loss"),
        ("{method}.draws.{what}", "/draws/{what}", "correlation"),
        ("{method}.prefilter.cost.{by}_{candidates}_{rounds}", "/prefilter/{setting}/cost", "share"),
        ("{method}.prefilter.recall.{by}_{candidates}_{rounds}", "/prefilter/{setting}/recall", "share"),
        ("{method}.prefilter.rank.{by}_{candidates}_{rounds}", "/prefilter/{setting}/rank", "correlation"),
    ),
    "counterfactual.json": (
        *(
            row
            for group, pointer in (
                ("leave_k_out.{method}", "/leave_k_out/{method}"),
                ("joint.{method}", "/joint/{method}/targets"),
                ("joint.{method}_collateral", "/joint/{method}/collateral"),
            )
            for row in (
                (f"{group}.{{measure}}", f"{pointer}/{{measure}}/effect", "{measure}"),
                (f"{group}.{{measure}}.over_control", f"{pointer}/{{measure}}/over_control", "{measure}"),
                (f"{group}.{{measure}}.{{statistic}}", f"{pointer}/{{measure}}/{{statistic}}", "{statistic}"),
            )
        ),
        ("joint.{method}.removed", "/joint/{method}/removed", "examples", "/targets/loss/n"),
        ("leave_k_out_difference.{pair}.{measure}", "/leave_k_out_difference/{pair}/{measure}", "{measure}"),
        ("joint_difference.{pair}.{measure}", "/joint_difference/{pair}/{measure}", "{measure}"),
        ("leave_k_out.noise_floor.{measure}", "/noise_floor/{measure}", "{measure}"),
    ),
    "overlap.json": (
        ("overlap.{first}.{second}", "/within/{first}/{second}", "share"),
        ("overlap.{first}.{second}", "/between/{first}/{second}", "share"),
    ),
    "ablation.json": (
        ("ablation.radius.n{size}", "/sizes/{size}/radius", "distance", ENSEMBLE),
        ("ablation.radius.mean_n{size}", "/sizes/{size}/distance", "distance", ENSEMBLE),
        ("ablation.radius.unattributable_n{size}", "/sizes/{size}/unattributable", "share", ENSEMBLE),
        ("ablation.far.{metric}_n{size}", "/sizes/{size}/far/{metric}", "share", ENSEMBLE),
        ("ablation.search.precision_n{size}", "/sizes/{size}/precision", "share", ENSEMBLE),
        ("ablation.search.rank_n{size}", "/sizes/{size}/rank", "correlation", ENSEMBLE),
        ("ablation.search.cost_n{size}", "/sizes/{size}/passes", "share", ENSEMBLE),
        ("ablation.search.seconds_n{size}", "/sizes/{size}/seconds", "share", ENSEMBLE),
        ("ablation.null.distance_n{size}", "/sizes/{size}/null_distance", "distance", ENSEMBLE),
        ("ablation.null.z_top_n{size}", "/sizes/{size}/z_top", "z", ENSEMBLE),
        ("ablation.null.share05_n{size}", "/sizes/{size}/share05", "share", ENSEMBLE),
        ("ablation.quality.ensemble_n{size}", "/sizes/{size}/quality", "Fréchet distance", ENSEMBLE),
        ("ablation.quality.member_n{size}", "/sizes/{size}/quality_member", "Fréchet distance", ENSEMBLE),
        ("ablation.slope.radius", "/slope/radius", "exponent", ENSEMBLE),
        ("ablation.slope.factor", "/slope/radius/factor", "distance", ENSEMBLE),
        ("ablation.slope.correlation", "/slope/radius/correlation", "correlation", ENSEMBLE),
        ("ablation.slope.null", "/slope/null", "exponent", ENSEMBLE),
        ("ablation.null.ks_{what}_{kind_of_null}", "/null/{what}/{kind_of_null}", "KS distance", ENSEMBLE),
        ("ablation.null.loss_share05", "/null/loss_share05", "share", ENSEMBLE),
        ("ablation.quality.real", "/quality_real", "Fréchet distance", ENSEMBLE),
        ("ablation.quality.retrained", "/retrain/quality", "Fréchet distance", ENSEMBLE),
        ("ablation.retrain.distance", "/retrain/distance", "distance", ENSEMBLE),
        ("ablation.retrain.ablated", "/retrain/ablated", "distance", ENSEMBLE),
        ("ablation.retrain.{what}", "/retrain/{what}", "correlation", ENSEMBLE),
    ),
    "contributors.json": (
        ("contributors.shapley.{property}.c{contributor}", "/shapley/{property}/{contributor}", "{property}"),
        ("contributors.lds.{property}.{predictor}", "/lds/{property}/{predictor}", "correlation"),
        ("contributors.lds_difference.{property}.{pair}", "/lds_difference/{property}/{pair}", "correlation"),
        ("contributors.agreement.{property}", "/agreement/{property}", "correlation"),
        ("contributors.steps", "/steps", "share", {"contributors": "examples"}),
    ),
}


def numbers(source: str, metric: Any, receipt: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in a metric file with its id: {value, interval, n, unit, source, at, receipt}."""
    seen: set[str] = set()
    for key, pointer, unit, *counted in TABLE.get(PurePosixPath(source).name, ()):
        for at, value, around, words in _places(metric, pointer.split("/")[1:]):
            if at in seen or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            seen.add(at)
            known = {name: field for holder in around for name, field in holder.items()} | words
            known |= {"folder": PurePosixPath(source).parent.name}
            measured = unit.format_map(known)
            beside = at.rpartition("/")[2] in WITH_INTERVAL
            yield (
                key.format_map(known),
                {
                    "value": float(value),
                    "interval": _interval(around[-1]) if beside else None,
                    "n": _count(around, None if beside or not counted else counted[0]),
                    "unit": UNITS.get(measured, measured),
                    "source": source,
                    "at": at,
                    "receipt": receipt,
                },
            )


def resolve(metric: Any, at: str) -> Any:
    """What stands at a pointer in a file; None where it leads nowhere."""
    for step in at.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            metric = metric[int(step)] if isinstance(metric, list) else metric[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return metric


def _places(
    node: Any, steps: list[str], at: str = "", around: tuple[Mapping, ...] = (), words: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Any, tuple[Mapping, ...], Mapping[str, str]]]:
    """Pointer, value, the objects around it (outermost first) and the words of each place that `steps` lead to."""
    words = words or {}
    if isinstance(node, Mapping):
        around = (*around, node)
    if not steps:
        if not isinstance(node, Mapping):
            yield at, node, around, words
        elif "value" in node:
            yield f"{at}/value", node["value"], around, words
        return
    step, rest = steps[0], steps[1:]
    items = dict(node) if isinstance(node, Mapping) else dict(enumerate(node)) if isinstance(node, list) else {}
    if not step.startswith("{"):
        items = {step: items[step]} if step in items else {}
    elif step == "{kind}":
        items = {name: item for name, item in items.items() if name in KINDS}
    for name, item in items.items():
        if name not in ("n", "interval"):
            escaped = str(name).replace("~", "~0").replace("/", "~1")
            yield from _places(item, rest, f"{at}/{escaped}", around, {**words, step.strip("{}"): str(name)})


def _interval(holder: Mapping[str, Any]) -> list[float | None] | None:
    found = holder.get("interval")
    return None if not found or found[0] is None else [None if end is None else float(end) for end in found]


def _count(around: tuple[Mapping, ...], counted: Any) -> Any:
    """`n` of a value: see the head of this file."""
    if isinstance(counted, dict):
        return {
            name: len(around[-1].get(count, ())) if isinstance(count, str) else count for name, count in counted.items()
        }
    if counted:
        return resolve(around[-1], counted)
    return next((dict(holder["n"]) for holder in reversed(around) if isinstance(holder.get("n"), Mapping)), {})
