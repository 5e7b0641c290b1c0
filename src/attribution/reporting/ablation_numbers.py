"""The reported numbers of a study's encoded ensembles."""

from collections.abc import Iterator, Mapping
from typing import Any

from attribution.reporting.numbers import Numbers, number

Measure = tuple[str, Any, str]  # id, {value, interval, n} or a value, unit


def ablation_numbers(record: Mapping[str, Any], source: str, receipt: str) -> Numbers:
    """`ablation.{radius,slope,far,search,null,quality,retrain}.<what>`, by size `<what>_n<size>`, of the step's file.

    A false attribution rate that is not defined, as no attribution ever stays, is left out.
    """
    found: Numbers = {}
    for key, entry, unit in _measures(record):
        if entry is None:
            continue
        if not isinstance(entry, Mapping):
            entry = {"value": entry, "interval": None, "n": {"ensembles": 1}}
        found[f"ablation.{key}"] = number(entry["value"], entry["interval"], entry["n"], unit, source, receipt)
    return found


def _measures(record: Mapping[str, Any]) -> Iterator[Measure]:
    for size, of in record["sizes"].items():
        yield f"radius.n{size}", of["radius"], "distance"
        yield f"radius.mean_n{size}", of["distance"], "distance"
        yield f"radius.unattributable_n{size}", of["unattributable"], "share"
        for metric, entry in of["far"].items():
            yield f"far.{metric}_n{size}", entry, "share"
        yield f"search.precision_n{size}", of["precision"], "share"
        yield f"search.rank_n{size}", of["rank"], "correlation"
        yield f"search.cost_n{size}", of["passes"], "share"
        yield f"search.seconds_n{size}", of["seconds"], "share"
        yield f"null.distance_n{size}", of["null_distance"], "distance"
        yield f"null.z_top_n{size}", of["z_top"], "z"
        yield f"null.share05_n{size}", of["share05"], "share"
        yield f"quality.ensemble_n{size}", of["quality"], "Fréchet distance"
        yield f"quality.member_n{size}", of["quality_member"], "Fréchet distance"
    yield "slope.radius", record["slope"]["radius"], "exponent"
    yield "slope.factor", record["slope"]["radius"]["factor"], "distance"
    yield "slope.correlation", record["slope"]["radius"]["correlation"], "correlation"
    yield "slope.null", record["slope"]["null"], "exponent"
    for what in ("distance", "loss"):
        for kind, entry in record["null"][what].items():
            yield f"null.ks_{what}_{kind}", entry, "KS distance"
    yield "null.loss_share05", record["null"]["loss_share05"], "share"
    yield "quality.real", record["quality_real"], "Fréchet distance"
    for what, entry in record["retrain"].items():
        if what == "quality":
            yield "quality.retrained", entry, "Fréchet distance"
        else:
            yield f"retrain.{what}", entry, "distance" if what in ("distance", "ablated") else "correlation"
