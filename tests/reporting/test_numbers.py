"""Reported numbers: ids, refusals, how they are shown, and the tables made of them."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from attribution.errors import StudyError
from attribution.evaluation.removal import compare
from attribution.reporting.numbers import (
    assemble,
    ceiling_numbers,
    check_id,
    control_numbers,
    cost_numbers,
    difference_numbers,
    lds_numbers,
    number,
    overestimate_numbers,
    prevalence_numbers,
    removal_numbers,
    show,
    tuning_numbers,
)
from attribution.reporting.tables import (
    lds_csv,
    lds_markdown,
    lds_table,
    methods,
    methods_markdown,
    targets_csv,
    targets_markdown,
)

N = {"queries": 50, "subsets": 32}


def entry(lds: float, damping: float | None) -> dict:
    default = None if damping is None else {"damping": 0.1, "lds": lds - 0.05, "interval": [lds - 0.1, lds]}
    return {"lds": lds, "interval": [lds - 0.04, lds + 0.04], "n": N, "selected_damping": damping, "default": default}


def study() -> dict:
    return assemble(
        [
            lds_numbers("trak", {"heldout": entry(0.5, 1.0), "training": entry(0.7, 1.0)}, "trak.json", "t1"),
            lds_numbers("ekfac", {"heldout": entry(0.6841, 0.01), "training": entry(0.8, 0.001)}, "ekfac.json", "e1"),
            lds_numbers("pixel_l2", {"heldout": entry(0.4, None), "training": entry(0.75, None)}, "p.json", "p1"),
            ceiling_numbers(
                {k: {"ceiling": 0.9, "interval": [0.88, 0.92], "n": N} for k in ("heldout", "training")}, "c.json", "c1"
            ),
        ]
    )


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
        number(bad, None, N, "correlation", "a.json", "r1")
    with pytest.raises(StudyError, match="interval"):
        number(0.5, [bad, 0.6], N, "correlation", "a.json", "r1")


def test_number_needs_its_origin_and_its_counts() -> None:
    with pytest.raises(StudyError, match="receipt"):
        number(0.5, None, N, "correlation", "a.json", "")
    with pytest.raises(StudyError, match="upside down"):
        number(0.5, [0.6, 0.4], N, "correlation", "a.json", "r1")
    for n in ({}, {"queries": 0}, {"queries": 2.5}):
        with pytest.raises(StudyError, match="positive whole counts"):
            number(0.5, None, n, "correlation", "a.json", "r1")


def test_numbers_of_a_method() -> None:
    numbers = study()
    assert list(numbers) == sorted(numbers)
    json.dumps(numbers, allow_nan=False)
    assert numbers["lds.ekfac.heldout"] == {
        "value": 0.6841,
        "interval": [pytest.approx(0.6441), pytest.approx(0.7241)],
        "n": N,
        "unit": "correlation",
        "source": "ekfac.json",
        "receipt": "e1",
    }
    assert numbers["lds.ekfac_default.heldout"]["value"] == pytest.approx(0.6341)
    assert numbers["damping.ekfac.heldout"]["value"] == 0.01
    assert numbers["damping.ekfac_default.heldout"]["value"] == 0.1
    assert not [key for key in numbers if "pixel_l2_default" in key or key.startswith("damping.pixel_l2")]


def test_an_id_comes_once() -> None:
    part = lds_numbers("trak", {"heldout": entry(0.5, 1.0)}, "a.json", "r1")
    with pytest.raises(StudyError, match=r"damping.trak.heldout is reported twice, from a.json and a.json"):
        assemble([part, dict(sorted(part.items()))])


def test_differences_costs_and_control() -> None:
    difference = {"heldout": {"value": 0.1, "interval": [0.05, 0.15], "n": N}}
    assert set(difference_numbers("ekfac", "trak", difference, "d.json", "r")) == {"lds_difference.ekfac_trak.heldout"}
    cost = cost_numbers({"train": 123.4}, {"train": 4}, "receipts", {"train": "r9"})
    assert cost["cost.train.seconds"]["n"] == {"jobs": 4}
    both = {"value": 0.8, "interval": [0.7, 0.9]}
    worth = {"value": 5.9, "interval": [3.0, None]}
    control = control_numbers(
        {
            "heldout": {"crn": both, "own": both, "equivalent_replicates": worth, "n": N},
            "training": {
                "crn": both,
                "own": both,
                "equivalent_replicates": {"value": None, "interval": [2, None]},
                "n": N,
            },
        },
        "s.json",
        "r",
    )
    assert control["reliability.equivalent_replicates.heldout"]["interval"] == [3.0, None]
    assert "reliability.equivalent_replicates.training" not in control
    assert "reliability.own.training" in control
    assemble([control, cost])


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
    assert show(number(value, interval, N, unit, "a.json", "r")) == text


def test_table_is_ordered_by_training_score_and_keeps_full_precision() -> None:
    table = lds_table(study())
    assert list(table.index) == ["ekfac", "pixel_l2", "trak", "ceiling"]
    assert table.loc["ekfac", "heldout"] == 0.6841
    assert table.loc["ekfac", "training_damping"] == 0.001
    assert table.loc["trak", "heldout_default"] == pytest.approx(0.45)
    assert pd.isna(table.loc["pixel_l2", "training_damping"])
    assert table["generated"].isna().all()
    assert (
        lds_csv(study()).splitlines()[0].startswith("method,generated,generated_low,generated_high,generated_damping,")
    )
    assert lds_csv(study()).splitlines()[1].startswith("ekfac,,,,,,0.6841,")


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
    variants = [
        lds_numbers(name, other, "v.json", "v1") for name in ("ekfac_loss", "trak_count", "abu_plus", "ensemble_trak")
    ]
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


def test_tuning_is_told_against_the_default_and_the_least_damping() -> None:
    gains = {"default": {"value": 0.1, "interval": [0.05, 0.15]}, "least": {"value": 0.4, "interval": [0.3, 0.5]}}
    numbers = tuning_numbers("trak", {"heldout": gains | {"n": N}}, "t.json", "r")
    assert numbers["lds_tuning.trak.heldout"]["value"] == 0.1
    assert numbers["lds_tuning.trak_least.heldout"]["interval"] == [0.3, 0.5]
    assemble([numbers])


def test_overestimates_prevalence_and_removals() -> None:
    measured = {"value": 0.25, "interval": [0.2, 0.3]}
    record = {"predicted": measured, "slope": {"value": 3.0, "interval": [2.0, 4.0]}, "n": N}
    over = overestimate_numbers({"ekfac": {"heldout": record}}, "o.json", "r")
    assert over.keys() == {"overestimate.ekfac.heldout.predicted", "overestimate.ekfac.heldout.slope"}
    assert over["overestimate.ekfac.heldout.slope"]["unit"] == "slope"

    lists = {"overlap": measured, "norm_correlation": {"value": 0.9, "interval": [0.8, 1.0]}, "n": N}
    step = {
        "k": 10,
        "methods": {"tracin": {"heldout": lists | {"distinct": 0.5, "most": 0.125}}},
        "differences": {"retrac_tracin": {"heldout": lists}},
    }
    shared = prevalence_numbers(step, "p.json", "r")
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
    pairs = [("ekfac", "trak"), ("ekfac", "pixel_l2")]
    removed = removal_numbers({"2": {"all": compared, "heldout": compared}}, pairs, "r.json", "r")
    assert removed["retrain_difference.ekfac_trak.k2"]["value"] == 1.5
    assert removed["retrain_difference.ekfac_trak.k2"]["interval"][0] >= 1.0  # paired; apart they reach to 0
    assert removed["retrain_difference.ekfac_trak.k2.heldout"]["n"] == {"queries": 2}
    assert removed["retrain_without_top.ekfac_over_random.k2"]["value"] == 3.0
    assert "retrain_without_top.random_over_random.k2" not in removed
    assert not [key for key in removed if "pixel" in key]  # not among the removals
    assemble([over, shared, removed])


def test_targets_beside_each_other() -> None:
    numbers = study()
    for method, value in (("trak", 0.9), ("ekfac", 0.3)):
        for kind in ("heldout", "training"):
            found = number(value, [value - 0.1, value + 0.1], N, "correlation", "a.json", "r")
            numbers[f"lds.{method}.{kind}.loss_at_500"] = found
    assert targets_markdown(numbers).splitlines() == [
        "| LDS, held-out / training | Loss | Loss at t = 500 |",
        "| :-- | --: | --: |",
        "| EK-FAC | **0.68** / **0.80** | 0.30 / 0.30 |",
        "| Pixel distance | 0.40 / 0.75 |  |",
        "| TRAK | 0.50 / 0.70 | **0.90** / **0.90** |",
    ]
    header, first = targets_csv(numbers).splitlines()[:2]
    assert header.split(",")[-3:] == ["loss_at_500_training", "loss_at_500_training_low", "loss_at_500_training_high"]
    assert first.split(",")[-3:] == ["0.3", str(0.3 - 0.1), str(0.3 + 0.1)]
    assert "pixel_l2,,,,0.4," in targets_csv(numbers)
    assert lds_markdown(numbers) == lds_markdown(study())  # other targets stay out of the main table
