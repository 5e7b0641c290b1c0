"""Numbers, table and figure of contributors from a step's record."""

import numpy as np

from attribution.reporting import contributors
from attribution.reporting.numbers import of_file
from attribution.reporting.style import save

MEASURE = {"value": 0.5, "interval": [0.4, 0.6], "n": {"coalitions": 5}}
PROPERTIES = ("loss", "quality", "diversity", "query")


def record():
    predictors = dict.fromkeys(["finetuned", "shapley", "shapley_plain", "leave_one_out", "alone", "ekfac"], MEASURE)
    return {
        "shapley": {name: [MEASURE, MEASURE] for name in PROPERTIES[:3]},
        "lds": {name: predictors | {"examples": None} for name in PROPERTIES},
        "lds_difference": {name: {"shapley_ekfac": MEASURE} for name in PROPERTIES},
        "agreement": dict.fromkeys(PROPERTIES, MEASURE),
        "steps": 0.1,
        "examples": [20, 20],
    }


def numbers():
    return of_file(record(), "results/s/contributors/all/contributors.json", "id")


def test_numbers():
    found = numbers()
    assert found["contributors.shapley.diversity.c1"]["unit"] == "bits"
    assert found["contributors.lds.query.ekfac"]["interval"] == [0.4, 0.6]
    assert found["contributors.lds_difference.loss.shapley_ekfac"]["unit"] == "correlation"
    assert found["contributors.steps"]["value"] == 0.1
    assert found["contributors.agreement.loss"]["n"] == {"coalitions": 5}
    assert "contributors.lds.loss.examples" not in found  # equally many examples rank nothing


def test_table():
    table = contributors.contributors_table(numbers(), ["ekfac"])
    assert table.index.tolist() == [*contributors.OWN, "ekfac"]
    assert table.loc["ekfac", "query_high"] == 0.6
    assert np.isnan(table.loc["examples", "loss"])
    lines = contributors.contributors_markdown(numbers(), ["ekfac"]).splitlines()
    assert len(lines) == 2 + len(table)
    assert lines[-1] == "| EK-FAC | 0.50 [0.40, 0.60] | 0.50 [0.40, 0.60] | 0.50 [0.40, 0.60] | 0.50 [0.40, 0.60] |"


def test_figure(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for name in PROPERTIES[:3]:
        values = rng.normal(size=6)
        arrays |= {f"shapley.{name}": values, f"interval.{name}": np.stack([values - 1, values + 1])}
        arrays |= {f"finetuned.{name}": rng.normal(size=8), f"retrained.{name}": rng.normal(size=8)}
    figure = contributors.shapley_values(arrays)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Held-out loss", "Quality", "Diversity"]
    assert {path.suffix for path in save(figure, tmp_path, "shapley")} == {".png", ".svg"}
