"""Reported numbers: ids, refusals, how they are shown, and the tables made of them."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution import pointers
from attribution.core.store import load_json
from attribution.errors import StudyError
from attribution.evaluation.removal import compare
from attribution.provenance.ledger import published_studies
from attribution.reporting.names import KINDS
from attribution.reporting.numbers import assemble, check_id, cost_numbers, number, of_file, show
from attribution.reporting.tables import (
    lds_markdown,
    lds_table,
    methods,
    methods_markdown,
    targets_markdown,
    targets_table,
)

ROOT = Path(__file__).parents[2]
N = {"queries": 50, "subsets": 32}


def entry(lds: float, damping: float | None) -> dict:
    default = None if damping is None else {"damping": 0.1, "lds": lds - 0.05, "interval": [lds - 0.1, lds]}
    return {"lds": lds, "interval": [lds - 0.04, lds + 0.04], "n": N, "selected_damping": damping, "default": default}


def scored(method: str, kinds: dict, receipt: str = "r") -> dict:
    return of_file({"kinds": kinds, "targets": {}}, f"results/s/lds/{method}/lds.json", receipt)


def study() -> dict:
    ceiling = {k: {"ceiling": 0.9, "interval": [0.88, 0.92], "n": N} for k in ("heldout", "training")}
    return assemble(
        [
            scored("trak", {"heldout": entry(0.5, 1.0), "training": entry(0.7, 1.0)}),
            scored("ekfac", {"heldout": entry(0.6841, 0.01), "training": entry(0.8, 0.001)}, "e1"),
            scored("pixel_l2", {"heldout": entry(0.4, None), "training": entry(0.75, None)}),
            of_file({"ceiling": {"kinds": ceiling}, "control": None}, "results/s/ceiling/all/ceiling.json", "c1"),
        ]
    )


def published() -> list[str]:
    return published_studies(ROOT)


@pytest.mark.parametrize("study", published())
def test_metric_files_that_were_published_give_the_numbers_that_were_published(study: str) -> None:
    """Each at a pointer of its own; what the step `numbers` computes itself, and costs, have no such file there."""
    place = ROOT / "results/published" / study
    numbers = load_json(place / "numbers.json")
    found = {}
    for path in sorted((place / "metrics").rglob("*.json")):
        inner = path.relative_to(place / "metrics")
        made = load_json(place / "receipts" / inner.parent / "receipt.json")["id"]
        metric, source = load_json(path), f"results/{study}/{inner.as_posix()}"
        for key, entry in of_file(metric, source, made).items():
            assert pointers.resolve(metric, entry["at"]) == entry["value"]
            found[key] = entry
    assert len({(entry["source"], entry["at"]) for entry in found.values()}) == len(found)
    computed = {key for key in numbers if key.startswith(("cost.", "lds_difference.", "lds_tuning."))}
    gathered = {key: entry for key, entry in numbers.items() if key not in computed}
    assert len(gathered) > 500
    assert {key: {name: found[key][name] for name in entry} for key, entry in gathered.items()} == gathered
    assert {key for key in found if not key.startswith("retrain_difference.")} <= numbers.keys()


def test_a_pointer_is_escaped_and_followed() -> None:
    metric = {"lds_difference": {"a/b~c": {"loss": {"heldout": {"value": 0.1, "interval": [0.0, 0.2], "n": N}}}}}
    ((_, entry),) = pointers.numbers("results/s/summary/numbers/derived.json", metric, "r")
    assert entry["at"] == "/lds_difference/a~1b~0c/loss/heldout/value"
    assert pointers.resolve(metric, entry["at"]) == 0.1
    assert pointers.resolve([{"a": [3, 5]}], "/0/a/1") == 5
    assert pointers.resolve({"a": 1}, "/a/b") is pointers.resolve({"a": [1]}, "/a/7") is None


def test_kinds_are_named_once() -> None:
    assert tuple(KINDS) == pointers.KINDS


@pytest.mark.parametrize(
    "key",
    ["lds.ekfac.heldout", "lds.exact_ggn_default.training.square", "cost.train.seconds", "ablation.radius.k5", "a.b"],
)
def test_good_ids(key: str) -> None:
    check_id(key)


@pytest.mark.parametrize(
    "key",
    [
        "lds",
        "lds.ekfac",
        "lds.ekfac.test",
        "LDS.ekfac.heldout",
        "lds..heldout",
        "lds.ek-fac.heldout",
        "1a.b",
        "a.b.c.d.e",
        "lds_difference.ekfac_trak.all",
        "reliability.crn.total",
        "lds.ekfac.heldout\n",
        "a.b/c",
        "a_.b",
    ],
)
def test_bad_ids(key: str) -> None:
    with pytest.raises(StudyError, match="number id"):
        check_id(key)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "0.5", True])
def test_no_number_no_report(bad: object) -> None:
    with pytest.raises(StudyError, match="not a finite number"):
        number(bad, None, N, "correlation", "a.json", "r1", "/a")
    with pytest.raises(StudyError, match="interval"):
        number(0.5, [bad, 0.6], N, "correlation", "a.json", "r1", "/a")


def test_number_needs_its_origin_and_its_counts() -> None:
    with pytest.raises(StudyError, match="receipt"):
        number(0.5, None, N, "correlation", "a.json", "", "/a")
    with pytest.raises(StudyError, match="upside down"):
        number(0.5, [0.6, 0.4], N, "correlation", "a.json", "r1", "/a")
    for n in ({}, {"queries": 0}, {"queries": 2.5}):
        with pytest.raises(StudyError, match="positive whole counts"):
            number(0.5, None, n, "correlation", "a.json", "r1", "/a")


def test_numbers_of_a_method() -> None:
    numbers = study()
    assert list(numbers) == sorted(numbers)
    json.dumps(numbers, allow_nan=False)
    assert numbers["lds.ekfac.heldout"] == {
        "value": 0.6841,
        "interval": [pytest.approx(0.6441), pytest.approx(0.7241)],
        "n": N,
        "unit": "correlation",
        "source": "results/s/lds/ekfac/lds.json",
        "at": "/kinds/heldout/lds",
        "receipt": "e1",
    }
    assert numbers["lds.ekfac_default.heldout"]["value"] == pytest.approx(0.6341)
    assert numbers["damping.ekfac.heldout"]["value"] == 0.01
    assert numbers["damping.ekfac_default.heldout"]["value"] == 0.1
    assert not [key for key in numbers if "pixel_l2_default" in key or key.startswith("damping.pixel_l2")]


def test_an_id_comes_once() -> None:
    part = scored("trak", {"heldout": entry(0.5, 1.0)})
    with pytest.raises(StudyError, match=r"damping.trak.heldout is reported twice, from .*lds.json and .*lds.json"):
        assemble([part, dict(sorted(part.items()))])


def test_differences_costs_and_control() -> None:
    difference = {"value": 0.1, "interval": [0.05, 0.15], "n": N}
    gain = {"value": 0.4, "interval": [0.3, 0.5], "n": N}
    derived = {
        "lds_difference": {"ekfac_trak": {"loss": {"heldout": difference}, "elbo": {"heldout": gain}}},
        "lds_tuning": {"trak": {"default": {"heldout": difference}, "least": {"heldout": gain}}},
    }
    found = of_file(derived, "results/s/summary/numbers/derived.json", "r")
    assert {key: (entry["value"], entry["at"]) for key, entry in found.items()} == {
        "lds_difference.ekfac_trak.heldout": (0.1, "/lds_difference/ekfac_trak/loss/heldout/value"),
        "lds_difference.ekfac_trak.heldout.elbo": (0.4, "/lds_difference/ekfac_trak/elbo/heldout/value"),
        "lds_tuning.trak.heldout": (0.1, "/lds_tuning/trak/default/heldout/value"),
        "lds_tuning.trak_least.heldout": (0.4, "/lds_tuning/trak/least/heldout/value"),
    }
    cost = cost_numbers({"train": 123.4}, {"train": 4}, "results/s/**/receipt.json", {"train": "r9"})
    assert cost["cost.train.seconds"]["n"] == {"jobs": 4}
    assert cost["cost.train.seconds"]["at"] == "/run/seconds"
    both = {"value": 0.8, "interval": [0.7, 0.9]}
    unsure = {"value": 3.0, "interval": [None, None]}
    never = {"value": None, "interval": [2, None]}
    kinds = {
        "heldout": {"crn": both, "own": both, "equivalent_replicates": both | {"interval": [3.0, None]}, "n": N},
        "training": {"crn": both, "own": both, "equivalent_replicates": never, "n": N},
        "generated": {"crn": both, "own": both, "equivalent_replicates": unsure, "n": N},
    }
    record = {"ceiling": {"kinds": {}}, "control": {"kinds": kinds}}
    control = of_file(record, "results/s/ceiling/all/ceiling.json", "r")
    assert control["reliability.equivalent_replicates.heldout"]["interval"] == [3.0, None]
    assert control["reliability.equivalent_replicates.generated"]["interval"] is None
    assert "reliability.equivalent_replicates.training" not in control
    assert "reliability.own.training" in control
    assemble([control, cost, found])


@pytest.mark.parametrize(
    ("value", "interval", "unit", "text"),
    [
        (0.7449, [0.7, 0.7849], "correlation", "0.74 [0.70, 0.78]"),
        (-0.004, [-0.12, 0.1], "correlation", "0.00 [-0.12, 0.10]"),
        (1e-10, None, "damping", "1e-10"),
        (5.94, [3.0, None], "replicates", "5.9 [3, ∞]"),
        (123.6, None, "s", "124"),
    ],
)
def test_show(value: float, interval: list | None, unit: str, text: str) -> None:
    assert show(number(value, interval, N, unit, "a.json", "r", "/a")) == text


def test_table_is_ordered_by_training_score_and_keeps_full_precision() -> None:
    table = lds_table(study())
    assert list(table.index) == ["ekfac", "pixel_l2", "trak", "ceiling"]
    assert table.loc["ekfac", "heldout"] == 0.6841
    assert table.loc["ekfac", "training_damping"] == 0.001
    assert table.loc["trak", "heldout_default"] == pytest.approx(0.45)
    assert pd.isna(table.loc["pixel_l2", "training_damping"])
    assert table["generated"].isna().all()
    assert (
        lds_table(study())
        .to_csv(lineterminator="\n")
        .splitlines()[0]
        .startswith("method,generated,generated_low,generated_high,generated_damping,")
    )
    assert lds_table(study()).to_csv(lineterminator="\n").splitlines()[1].startswith("ekfac,,,,,,0.6841,")


def test_markdown_table() -> None:
    assert lds_markdown(study()).splitlines() == [
        "| Method | Held-out | Training | Damping (held-out / training) | At the default damping |",
        "| :-- | --: | --: | :-: | :-: |",
        "| EK-FAC | 0.68 [0.64, 0.72] | 0.80 [0.76, 0.84] | 0.01 / 0.001 | 0.63 / 0.75 |",
        "| Pixel distance | 0.40 [0.36, 0.44] | 0.75 [0.71, 0.79] |  |  |",
        "| TRAK | 0.50 [0.46, 0.54] | 0.70 [0.66, 0.74] | 1 / 1 | 0.45 / 0.65 |",
        "| *Ceiling* | 0.90 [0.88, 0.92] | 0.90 [0.88, 0.92] |  |  |",
    ]


def test_variants_stay_out_of_the_table_of_methods() -> None:
    other = {"heldout": entry(0.6, 1.0), "training": entry(0.6, 1.0)}
    variants = [scored(name, other) for name in ("ekfac_loss", "trak_count", "abu_plus", "ensemble_trak")]
    numbers = assemble([study(), *variants])
    shown = [line.split(" | ")[0] for line in methods_markdown(numbers).splitlines()[2:]]
    assert shown == ["| EK-FAC", "| Pixel distance", "| TRAK", "| AbU+", "| TRAK, ensemble", "| *Ceiling*"]
    assert methods_markdown(study()) == lds_markdown(study())


def test_a_method_named_default_is_not_taken_for_a_variant() -> None:
    numbers = study()
    numbers["lds.by_default.training"] = numbers["lds.trak.training"]
    assert "by_default" in methods(numbers)
    with pytest.raises(StudyError, match="no score"):
        methods({key: value for key, value in numbers.items() if "ceiling" in key})


def test_overestimates_prevalence_and_removals() -> None:
    measured = {"value": 0.25, "interval": [0.2, 0.3]}
    record = {"predicted": measured, "slope": {"value": 3.0, "interval": [2.0, 4.0]}, "n": N}
    over = of_file({"ekfac": {"heldout": record}}, "overestimate.json", "r")
    assert over.keys() == {"overestimate.ekfac.heldout.predicted", "overestimate.ekfac.heldout.slope"}
    assert over["overestimate.ekfac.heldout.slope"]["unit"] == "slope"

    lists = {"overlap": measured, "norm_correlation": {"value": 0.9, "interval": [0.8, 1.0]}, "n": N}
    step = {
        "k": 10,
        "methods": {"tracin": {"heldout": lists | {"distinct": 0.5, "most": 0.125}}},
        "differences": {"retrac_tracin": {"heldout": lists}},
    }
    shared = of_file(step, "prevalence.json", "r")
    assert {key: entry["value"] for key, entry in shared.items()} == {
        "prevalence.tracin.heldout.overlap": 0.25,
        "prevalence.tracin.heldout.distinct": 0.5,
        "prevalence.tracin.heldout.most": 0.125,
        "norm_correlation.tracin.heldout": 0.9,
        "prevalence_difference.retrac_tracin.heldout.overlap": 0.25,
        "norm_correlation_difference.retrac_tracin.heldout": 0.9,
    }
    assert shared["prevalence.tracin.heldout.most"]["interval"] is None

    increases = {"ekfac": np.array([3.0, 4.0]), "trak": np.array([1.0, 3.0]), "random": np.array([0.0, 1.0])}
    compared = compare(increases, "random", 0, 50, 0.9)
    removed = of_file({"percents": {"2": {"all": compared, "heldout": compared}}}, "removal.json", "r")
    assert removed["retrain_difference.ekfac_trak.k2"]["value"] == 1.5
    assert removed["retrain_difference.ekfac_trak.k2"]["interval"][0] >= 1.0  # paired; apart they reach to 0
    assert removed["retrain_difference.ekfac_trak.k2.heldout"]["n"] == {"queries": 2}
    assert removed["retrain_without_top.ekfac_over_random.k2"]["value"] == 3.0
    assert "retrain_without_top.random_over_random.k2" not in removed
    assemble([over, shared, removed])


def test_targets_beside_each_other() -> None:
    numbers = study()
    for method, value in (("trak", 0.9), ("ekfac", 0.3)):
        for kind in ("heldout", "training"):
            found = number(value, [value - 0.1, value + 0.1], N, "correlation", "a.json", "r", "/a")
            numbers[f"lds.{method}.{kind}.loss_at_500"] = found
    assert targets_markdown(numbers).splitlines() == [
        "| LDS, held-out / training | Loss | Loss at t = 500 |",
        "| :-- | --: | --: |",
        "| EK-FAC | **0.68** / **0.80** | 0.30 / 0.30 |",
        "| Pixel distance | 0.40 / 0.75 |  |",
        "| TRAK | 0.50 / 0.70 | **0.90** / **0.90** |",
    ]
    header, first = targets_table(numbers).to_csv(lineterminator="\n").splitlines()[:2]
    assert header.split(",")[-3:] == ["loss_at_500_training", "loss_at_500_training_low", "loss_at_500_training_high"]
    assert first.split(",")[-3:] == ["0.3", str(0.3 - 0.1), str(0.3 + 0.1)]
    assert "pixel_l2,,,,0.4," in targets_table(numbers).to_csv(lineterminator="\n")
    assert lds_markdown(numbers) == lds_markdown(study())  # other targets stay out of the main table
