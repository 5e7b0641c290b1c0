"""The memory that rules ask for stands beside the memory that was used."""

from attribution.provenance.cost import Cost, table


def test_the_table_shows_the_share_used() -> None:
    shown = table([Cost("train", 2, 30.0, 20.0, 25.0, 500.0, 4000), Cost("old", 1, 1.0, 1.0, None, None)])
    head, train, old, *_ = shown.splitlines()
    assert head.split()[-3:] == ["asked", "MB", "used"]
    assert train.split()[-4:] == ["500.0", "4000", "12", "%"]
    assert old.split()[-1] == "1.0"
