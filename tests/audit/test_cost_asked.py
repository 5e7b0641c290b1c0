"""The memory that rules ask for stands beside the memory that was used."""

import re
from pathlib import Path

import pytest

from attribution.provenance import asked
from attribution.provenance.cost import Cost, table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "resources",
    ["resources: {mem_mb: 4321, runtime: 17, gpu: 1}", "resources:\n  gpu: 1\n  mem_mb: 4321\n  runtime: 17"],
    ids=["on one line", "on several"],
)
def test_asked_memory_is_that_of_the_rules_and_the_config(tmp_path: Path, resources: str) -> None:
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/rules").symlink_to(ROOT / "workflow/rules")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/demo.yaml").write_text(f"seed: 0\n{resources}\ntitle: Demo\n")
    found = asked.memory(tmp_path, "demo")
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert len(found) == rules.count("\nrule ")
    assert list(found.values()).count(4321) == len(re.findall(r'mem_mb=need\("mem_mb", "\w+"\)', rules))
    assert found["train"] == 4321
    assert found["design"] == 1000


def test_a_study_without_a_config_has_what_the_rules_fix(tmp_path: Path) -> None:
    assert asked.memory(tmp_path, "demo") == {}
    assert "train" not in asked.memory(ROOT, "no_such_study")


def test_the_table_shows_the_share_used() -> None:
    shown = table([Cost("train", 2, 30.0, 20.0, 25.0, 500.0, 4000), Cost("old", 1, 1.0, 1.0, None, None)])
    head, train, old, *_ = shown.splitlines()
    assert head.split()[-3:] == ["asked", "MB", "used"]
    assert train.split()[-4:] == ["500.0", "4000", "12", "%"]
    assert old.split()[-1] == "1.0"
