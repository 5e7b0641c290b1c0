"""What a citation says is what the package says: name, version and licence stand in two files."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_citation_licence_and_package_agree() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "abstract"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (package["version"], package["license"])
    assert package["license"] == "Apache-2.0"
    assert package["license-files"] == ["LICENSE"]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_each_paper_is_named_with_authors_year_and_identifier() -> None:
    papers = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    assert len({paper["title"] for paper in papers}) == len(papers) >= 10
    for paper in papers:
        assert {"type", "title", "authors", "year"} <= paper.keys()
        assert "doi" in paper or paper["identifiers"][0]["value"].startswith("arXiv:"), paper["title"]
