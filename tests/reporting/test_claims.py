"""Claims: every verdict, what outweighs what, and the file of claims itself."""

import csv
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.reporting.claims import (
    FAILS,
    HOLDS,
    MIXED,
    OPEN,
    UNTESTED,
    Condition,
    claims_csv,
    claims_markdown,
    every,
    judge,
    parse,
    verdict,
)
from attribution.reporting.contributors import OWN
from attribution.reporting.numbers import number
from attribution.steps.numbers import compared
from attribution.workflow.config import read_yaml

FILE = Path(__file__).parents[2] / "config/claims.yaml"


def entry(value: float, interval: list | None) -> dict:
    return number(value, interval, {"queries": 5}, "correlation", "a.json", "r", "/a")


def claim(*holds: str, **changes) -> dict:
    entry = {"id": "one", "text": "A above B", "source": "a paper", "second_hand": False, "paper": "2 and 1"}
    return entry | {"holds": list(holds)} | changes


def study(**kinds: list[float]) -> dict:
    found = {f"lds.a.{kind}": entry(0.5, [0.4, 0.6]) for kind in kinds}
    return found | {f"lds_difference.a_b.{kind}": entry(sum(ends) / 2, ends) for kind, ends in kinds.items()}


@pytest.mark.parametrize(
    ("interval", "sign", "threshold", "found"),
    [
        ([0.1, 0.3], ">", 0.0, HOLDS),
        ([-0.1, 0.3], ">", 0.0, OPEN),
        ([-0.3, -0.1], ">", 0.0, FAILS),
        ([0.0, 0.3], ">", 0.0, OPEN),  # an end that touches the threshold decides nothing
        ([0.1, 0.3], ">", 0.05, HOLDS),
        ([0.1, 0.3], ">", 0.2, OPEN),
        ([0.1, 0.3], "<", 0.0, FAILS),
        ([-0.3, -0.1], "<", 0.0, HOLDS),
        ([0.01, 0.04], "<", 0.05, HOLDS),
        ([2.0, None], ">", 1.0, HOLDS),  # no upper end
        ([2.0, None], "<", 1.0, FAILS),
        ([2.0, None], "<", 3.0, OPEN),
    ],
)
def test_an_interval_decides_or_leaves_open(interval: list, sign: str, threshold: float, found: str) -> None:
    middle = interval[0] if interval[1] is None else sum(interval) / 2
    assert judge(Condition("lds.a.heldout", sign, threshold), entry(middle, interval)) == found


def test_no_number_is_not_tested_and_no_interval_is_refused() -> None:
    assert judge(Condition("lds.a.heldout", ">", 0.0), None) == UNTESTED
    with pytest.raises(StudyError, match=r"lds\.a\.heldout has no interval"):
        judge(Condition("lds.a.heldout", ">", 0.0), entry(0.5, None))


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, OPEN], OPEN),
        ([OPEN, FAILS, HOLDS], FAILS),  # of a margin that the interval left, one condition still holds
        ([UNTESTED, UNTESTED], UNTESTED),
    ],
)
def test_verdict_of_a_kind(conditions: list, found: str) -> None:
    assert every(conditions) == found


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([HOLDS, HOLDS, HOLDS], HOLDS),
        ([HOLDS, OPEN, HOLDS], MIXED),
        ([HOLDS, FAILS], MIXED),
        ([FAILS, OPEN, OPEN], FAILS),
        ([OPEN, OPEN], OPEN),
        ([HOLDS, FAILS, UNTESTED], UNTESTED),
        ([], UNTESTED),  # a study without any score
    ],
)
def test_verdict_of_a_claim(kinds: list, found: str) -> None:
    assert verdict(kinds) == found


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ({"generated": [0.1, 0.2], "training": [0.1, 0.3]}, HOLDS),
        ({"generated": [0.1, 0.2], "training": [-0.1, 0.3]}, MIXED),
        ({"generated": [-0.1, 0.2], "training": [-0.3, -0.1]}, FAILS),
        ({"generated": [-0.1, 0.2]}, OPEN),
        ({}, UNTESTED),
    ],
)
def test_a_claim_is_made_for_every_kind_of_the_study(kinds: dict, found: str) -> None:
    claims = parse([claim("lds_difference.a_b.{kind} > 0")])
    assert claims_markdown(claims, study(**kinds)).endswith(f"| {found} |")


def test_a_kind_without_the_number_leaves_the_claim_untested() -> None:
    numbers = study(generated=[0.1, 0.2], training=[0.1, 0.3])
    del numbers["lds_difference.a_b.training"]
    claims = parse([claim("lds_difference.a_b.{kind} > 0")])
    assert claims_markdown(claims, numbers).endswith("| **0.15 [0.10, 0.20]** |  |  |  | not tested |")


@pytest.mark.parametrize(
    ("interval", "found"),
    [
        ([-0.01, 0.02], HOLDS),
        ([0.04, 0.08], OPEN),
        ([-0.2, 0.2], OPEN),
        ([0.06, 0.08], FAILS),
        ([-0.08, -0.06], FAILS),
    ],
)
def test_margin(interval: list, found: str) -> None:
    claims = parse([claim("lds_difference.a_b.{kind} > -0.05", "lds_difference.a_b.{kind} < 0.05")])
    assert claims_markdown(claims, study(heldout=interval)).endswith(f"| {found} |")


def test_tables_say_what_the_paper_has_and_what_the_study_has() -> None:
    margins = ("lds_difference.a_b.{kind} > -0.05", "lds_difference.a_b.{kind} < 0.05")
    pooled = claim("retrain_difference.a_b.k2 > 0", id="two", paper=None, second_hand=True)
    claims = parse([claim(*margins), pooled, pooled | {"id": "three", "holds": ["retrain_difference.a_b.k9 > 0"]}])
    numbers = study(heldout=[-0.01, 0.02], training=[0.04, 0.08]) | {"retrain_difference.a_b.k2": entry(-2, [-3, -1])}
    assert claims_markdown(claims, numbers).splitlines() == [
        "| Claim | Paper | Generated | Held-out | Training | All queries | Verdict |",
        "| :-- | :-- | --: | --: | --: | --: | :-- |",
        "| A above B | 2 and 1 (a paper) |  | **0.01 [-0.01, 0.02]** | 0.06 [0.04, 0.08] |  | mixed |",
        "| A above B | second-hand: a paper |  |  |  | -2.00 [-3.00, -1.00] | fails |",
        "| A above B | second-hand: a paper |  |  |  |  | not tested |",
    ]
    one, two, three = csv.DictReader(claims_csv(claims, numbers).splitlines())
    assert (one["claim"], one["conditions"]) == ("one", "; ".join(margins))
    assert (one["heldout"], one["heldout_low"], one["heldout_high"]) == ("0.005", "-0.01", "0.02")
    assert [one[f"{place}_verdict"] for place in ("generated", "heldout", "training", "all")] == ["", HOLDS, OPEN, ""]
    assert [row["verdict"] for row in (one, two, three)] == [MIXED, FAILS, UNTESTED]
    assert [row["second_hand"] for row in (one, two)] == ["no", "yes"]
    assert (two["all"], two["all_verdict"], two["paper"]) == ("-2.0", FAILS, "")
    assert (three["all"], three["all_verdict"]) == ("", UNTESTED)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "must be a list of claims"),
        ({"id": "one"}, "must be a list of claims"),
        (["one"], "must be a list of claims"),
        ([claim("lds.a.{kind} > 0", texts="x")], "claim one: texts is unknown"),
        ([{"id": "one", "text": "", "second_hand": True, "paper": "", "holds": ["a.b > 0"]}], "one: source is missing"),
        ([{"text": "x"}], "claim number 1: holds is missing"),
        ([claim("a.b > 0", second_hand="yes")], "claim one: second_hand must not be 'yes'"),
        ([claim("a.b > 0", holds="a.b > 0")], "claim one: holds must not be"),
        ([claim("a.b > 0"), claim("a.b > 0")], "claim one: given twice"),
        ([claim()], "claim one: `holds` must have conditions"),
        ([claim("a.b > 0", "a.c > 0")], "all on the same number"),
        ([claim("a.b >= 0")], "is not like"),
        ([claim("a.b > 0 ")], "is not like"),
        ([claim(3)], "is not like"),
        ([claim("lds_difference.a_b.all > 0")], "number id"),
    ],
)
def test_a_mistake_in_the_file_is_named(entries: object, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse(entries)


def test_the_papers_claims_are_well_formed() -> None:
    claims = parse(read_yaml(FILE))
    assert len(claims) > 20
    for one in claims:
        assert one.source
        assert "|" not in one.text + one.source + one.paper  # a cell of a Markdown table


def whole_ids(config: dict) -> set[str]:
    """Ids of numbers of one part of a study, word for word, as its config has them reported."""
    sizes = config.get("ablation", {"sizes": []})["sizes"]
    methods = config.get("contributors", {"methods": []})["methods"]
    return {
        "ablation.slope.radius",
        *(
            f"ablation.{what}_n{size}"
            for what in ("far.pixel", "far.feature", "radius.unattributable")
            for size in sizes
        ),
        *(f"contributors.{what}.{of}" for what in ("agreement", "lds") for of in ("quality", "quality.shapley")),
        *(f"contributors.lds_difference.quality.shapley_{other}" for other in (*methods, *OWN)),
    }


def reported(config: dict) -> dict[str, set[str]]:
    """Family -> second words of the ids that a study of this config reports."""
    methods, asked = config["methods"], config["evaluation"]["compare"]
    damped = {name for name, settings in methods.items() if "dampings" in settings}
    judged = config.get("counterfactual", {"methods": []})["methods"]
    among = [pair for pair in asked if set(pair) <= set(judged)]
    return {
        "lds_difference": {f"{a}_{b}" for a, b in compared(sorted(methods), asked)},
        "retrain_difference": {f"{a}_{b}" for a, b in compared(config["removal"]["methods"], asked)},
        "retrain_without_top": {f"{method}_over_random" for method in config["removal"]["methods"]},
        "lds_tuning": damped | {f"{method}_least" for method in damped},
        "overestimate": {name for name, settings in methods.items() if "curvature" in settings},
        "prevalence_difference": {f"{a}_{b}" for a, b in asked},
        "norm_correlation_difference": {f"{a}_{b}" for a, b in asked},
        "joint_difference": {f"{a}_{b}" for a, b in compared(judged, among)},
    }


def test_the_papers_claims_are_of_numbers_that_a_study_reports() -> None:
    known: dict[str, set[str]] = {}
    whole: set[str] = set()
    for study in ("digits", "digits_unet", "digits_counterfactual", "digits_small"):
        config = read_yaml(FILE.with_name(f"{study}.yaml"))
        whole |= whole_ids(config)
        for family, names in reported(config).items():
            known.setdefault(family, set()).update(names)
    for one in parse(read_yaml(FILE)):
        family, what, *_ = one.holds[0].id.split(".")
        # a typing error would read "not tested" for ever
        assert one.holds[0].id in whole or what in known.get(family, ()), one.id
