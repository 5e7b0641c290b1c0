"""Tables of counterfactual retraining hold every judged method once, in order of what its removal does."""

from attribution.reporting.counterfactual_table import COLUMNS, joint_markdown, leave_k_out_markdown


def entry(value, interval=None, unit="share"):
    return {"value": value, "interval": interval, "n": {}, "unit": unit, "source": "", "receipt": ""}


def numbers(protocol, methods):
    found = {}
    for method, rise in methods.items():
        for column in COLUMNS:
            found[f"{protocol}.{method}.{column}"] = entry(0.25, [0.125, 0.5])
        found[f"{protocol}.{method}.loss"] = entry(rise, [0.0, 1.0], "loss")
    return found


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_rows_are_in_order_and_the_control_is_not_compared_with_itself():
    found = numbers("leave_k_out", {"mucs": 0.1, "random": 0.0, "ekfac": 0.3})
    found["leave_k_out.noise_floor.loss"] = entry(0.02, [0.01, 0.03], "loss")
    table = rows(leave_k_out_markdown(found))
    assert [row[0] for row in table[2:]] == ["EK-FAC", "MUCS", "Random", "*Another seed alone*"]
    assert table[2][1:4] == ["0.3000 [0.0000, 1.0000]", "0.25 [0.12, 0.50]", "0.25 [0.12, 0.50]"]
    assert table[4][1] == "0.0000 [0.0000, 1.0000]"
    assert table[4][2] == table[4][5] == ""
    assert table[5][1] == "0.0200 [0.0100, 0.0300]"
    assert set(table[5][2:]) == {""}
    assert len({len(row) for row in table}) == 1


def test_joint_tells_how_many_were_removed_and_leaves_collateral_out():
    found = numbers("joint", {"ekfac": 0.3, "ekfac_collateral": 0.9})
    found["joint.ekfac.removed"] = entry(150, unit="examples")
    table = rows(joint_markdown(found))
    assert table[0][:2] == ["Method", "Removed"]
    assert [row[0] for row in table[2:]] == ["EK-FAC"]
    assert len({len(row) for row in table}) == 1


def test_a_study_without_says_so():
    assert leave_k_out_markdown({"lds.ekfac.heldout": entry(0.7)}) == "This study has no counterfactual retraining."
