"""config/README.md is what the schema says, and a stale one is noticed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from attribution.workflow import config, config_readme, config_schema, datasets, method_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path, study: dict[str, Any]) -> Path:
    """A root with the schema and a digits study."""
    (tmp_path / "config").mkdir()
    (tmp_path / config_readme.SCHEMA).parent.mkdir(parents=True)
    shutil.copy(ROOT / config_readme.SCHEMA, tmp_path / config_readme.SCHEMA)
    (tmp_path / config_readme.EXAMPLE).write_text(yaml.safe_dump(study))
    (tmp_path / method_tables.DOCS).parent.mkdir()
    (tmp_path / method_tables.DOCS).write_text("# Methods\n\n| method | score |\n\nMore.\n")
    return tmp_path


def test_committed_file_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_readme.main(["--check"], ROOT) == 0, capsys.readouterr().err


def test_a_changed_schema_or_value_makes_it_stale(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config_readme.main(["--check"], root) == 1
    assert config_readme.main([], root) == 0
    assert config_readme.main(["--check"], root) == 0
    for path, old, new in (
        (config_readme.SCHEMA, "units of a hidden layer", "hidden units"),
        (config_readme.EXAMPLE, "width: 128", "width: 129"),
        (method_tables.DOCS, "Barshan et al. 2020", "Barshan et al. 2021"),
    ):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))
        assert config_readme.main(["--check"], root) == 1
        assert "stale" in capsys.readouterr().err
        config_readme.main([], root)


def test_every_key_has_its_row_with_range_meaning_and_value(root: Path) -> None:
    text = config_readme.render(root)
    schema = config.read_yaml(ROOT / config_readme.SCHEMA)
    for name, section in schema["properties"].items():
        if name == "methods":
            continue
        if "oneOf" not in section and section["type"] != "object":
            assert f"| `{name}` | " in text
            continue
        table = text.split(f"\n## {name}", 1)[1].split("\n## ", 1)[0]
        for option in section.get("oneOf", [section]):
            for key, part in option["properties"].items():
                row = next(line for line in table.splitlines() if line.startswith(f"| `{key}` | "))
                if key != "kind":
                    assert f" | {config_schema.resolve(part, schema)['description']}" in row
    rows = text.splitlines()
    assert "| `width` | integer | >= 1 and <= 65536 | units of a hidden layer | `128` | `128` |" in rows
    assert "| `random` | random scores |  |" in rows
    assert "| `damping` | number >= 1e-12 and <= 1000000 | the default damping; one of dampings |" in rows
    assert any(row.startswith("| `dtrak` | ") and "`measurement: squared_norm`" in row for row in rows)
    names = ", ".join(datasets.declared())
    assert any(row.startswith(f"| `dataset` | word | one of {names} | which images; ") for row in rows)
    groups = "groups of each GroupNorm; divides every channel number"
    assert f"| `norm_num_groups` | integer | >= 1 and <= 8192 | {groups} | `8` |  |" in rows
    batch = next(
        row for row in rows if row.startswith("| `batch` | integer | >= 1 and <= 10000000 | examples of one step")
    )
    assert batch.endswith("| `64`, at most `design.fraction` x `data.train` | `64` |")


def test_works_without_the_digits_study(root: Path) -> None:
    (root / config_readme.EXAMPLE).unlink()
    assert "| `width` | integer | >= 1 and <= 65536 | units of a hidden layer | `128` |  |" in config_readme.render(
        root
    )
