"""Claims: every verdict, what outweighs what, and the file of claims itself."""

import csv
from pathlib import Path

import pytest

from attribution.errors import StudyError
from attribution.reporting.claims import (
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    Condition,
    claims_csv,
    claims_markdown,
    judge,
    parse,
    verdict,
)
from attribution.reporting.numbers import number
from attribution.workflow.config import read_yaml

FILE = Path(__file__).parents[2] / "config/claims.yaml"


def entry(value: float, interval: list | None) -> dict:
    return number(value, interval, {"queries": 5}, "correlation", "a.json", "r")


def claim(*holds: str, **changes) -> dict:
    return {"id": "one", "text": "A above B", "source": "a paper", "paper": "2 and 1", "holds": list(holds)} | changes


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
    ("parts", "found"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, OPEN], OPEN),
        ([HOLDS, OPEN, FAILS], FAILS),
        ([HOLDS, FAILS, UNTESTED], UNTESTED),
        ([], UNTESTED),  # a study without any score
    ],
)
def test_verdict_of_a_claim(parts: list, found: str) -> None:
    assert verdict(parts) == found


def test_a_claim_is_made_for_every_kind_of_the_study() -> None:
    claims = parse([claim("lds_difference.a_b.{kind} > 0")])
    for kinds, found in (
        ({"generated": [0.1, 0.2], "training": [0.1, 0.3]}, HOLDS),
        ({"generated": [0.1, 0.2], "training": [-0.1, 0.3]}, OPEN),
        ({"generated": [0.1, 0.2], "heldout": [-0.1, 0.3], "training": [-0.3, -0.1]}, FAILS),
        ({}, UNTESTED),
    ):
        text = claims_markdown(claims, study(**kinds))
        assert text.splitlines()[2].endswith(f"| {found} |")
    missing = study(generated=[0.1, 0.2], training=[0.1, 0.3])
    del missing["lds_difference.a_b.training"]
    assert claims_markdown(claims, missing).endswith(f"| {UNTESTED} |")


def test_tables_say_there_and_here() -> None:
    margins = ("lds_difference.a_b.{kind} > -0.05", "lds_difference.a_b.{kind} < 0.05")
    claims = parse([claim(*margins), claim("retrain_difference.a_b.k2 > 0", id="two", paper="")])
    numbers = study(heldout=[-0.01, 0.02], training=[0.04, 0.08])
    assert claims_markdown(claims, numbers).splitlines() == [
        "| Claim | There | Here | Verdict |",
        "| :-- | :-- | :-- | :-- |",
        "| A above B | 2 and 1 (a paper) | held-out 0.01 [-0.01, 0.02]<br>training 0.06 [0.04, 0.08] | open |",
        "| A above B | a paper |  | not tested here |",
    ]
    rows = list(csv.DictReader(claims_csv(claims, numbers).splitlines()))
    assert [(row["claim"], row["number"], row["sign"], row["verdict"]) for row in rows] == [
        ("one", "lds_difference.a_b.heldout", ">", HOLDS),
        ("one", "lds_difference.a_b.training", ">", HOLDS),
        ("one", "lds_difference.a_b.heldout", "<", HOLDS),
        ("one", "lds_difference.a_b.training", "<", OPEN),
        ("two", "retrain_difference.a_b.k2", ">", UNTESTED),
    ]
    assert {row["of_claim"] for row in rows} == {OPEN, UNTESTED}
    assert (rows[0]["low"], rows[0]["high"], rows[0]["threshold"]) == ("-0.01", "0.02", "-0.05")
    assert rows[4]["value"] == rows[4]["low"] == ""


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([claim("lds.a.{kind} > 0", texts="x")], "claim one: texts is unknown"),
        ([{"id": "one", "text": "", "paper": "", "holds": ["a.b > 0"]}], "claim one: source is missing"),
        ([claim("a.b > 0"), claim("a.b > 0")], "claim one: given twice"),
        ([claim()], "claim one: has no condition"),
        ([claim("a.b >= 0")], "is not like"),
        ([claim("a.b > 0 ")], "is not like"),
        ([claim("lds_difference.a_b.all > 0")], "number id"),
    ],
)
def test_a_mistake_in_the_file_is_named(entries: list, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse(entries)


def test_the_papers_claims_are_well_formed() -> None:
    claims = parse(read_yaml(FILE))
    assert len(claims) > 20
    for one in claims:
        assert one.source
        assert "|" not in one.text + one.source + one.paper  # a cell of a Markdown table
