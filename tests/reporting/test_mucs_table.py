"""The table of ablations: a row for each scored variant, its difference to MUCS as reported, the claims' letters."""

from attribution.reporting.mucs_table import mucs_markdown, table
from attribution.reporting.numbers import number


def entry(value: float) -> dict:
    interval, n = [value - 0.1, value + 0.1], {"queries": 5, "subsets": 8}
    return number(value, interval, n, "correlation", "file", "receipt", "/a")


NUMBERS = {
    "lds.mucs.generated": entry(0.5),
    "lds.mucs_difference.generated": entry(0.625),
    "lds_difference.mucs_difference_mucs.generated": entry(0.125),
    "lds.abu.generated": entry(0.25),
    "lds.ekfac.generated": entry(0.75),
    "lds.mucs_all.generated.elbo": entry(0.9),
}


def test_rows_are_the_variants_that_were_scored() -> None:
    """MUCS first; neither another method nor a variant with a score of another target only."""
    found = table(NUMBERS)
    assert found.index.tolist() == ["mucs", "mucs_difference", "abu"]
    assert found.loc["mucs_difference", "generated_difference"] == 0.125
    assert found.loc["abu", "generated"] == 0.25
    assert found["generated_difference"].isna().tolist() == [True, False, True]
    assert table(NUMBERS).to_csv().splitlines()[1].startswith("mucs,0.5,0.4,0.6,")


def test_markdown_has_the_letter_and_both_intervals() -> None:
    lines = mucs_markdown(NUMBERS).splitlines()
    assert lines[0] == "|  | MUCS with | Generated | Generated, less MUCS |"
    assert lines[3] == "| c | difference of losses for the skew | 0.62 [0.53, 0.72] | 0.12 [0.02, 0.23] |"
    assert lines[4].startswith("| h | AbU")


def test_a_study_without_mucs_says_so() -> None:
    assert mucs_markdown({"lds.abu.generated": entry(0.25)}) == "This study has no MUCS, and no ablations of it."
    assert table({}).to_csv().startswith("method,")
