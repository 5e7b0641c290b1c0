"""Numbers, table and figures of encoded ensembles from a step's record."""

import numpy as np
import pytest

from attribution.errors import StudyError
from attribution.reporting import ablation
from attribution.reporting.numbers import of_file
from attribution.reporting.style import save

RNG = np.random.default_rng(0)
MEASURE = {"value": 0.5, "interval": [0.4, 0.6], "n": {"samples": 5}}
NAMES = ["radius", "distance", "null_distance", "z_top", "share05", "unattributable", "precision", "rank"]


def record():
    one = dict.fromkeys(NAMES, MEASURE) | {"passes": 0.03, "seconds": 0.04, "quality": 7.0, "quality_member": 9.0}
    first = one | {"far": {"pixel": MEASURE, "feature": None}}
    law = MEASURE | {"value": -0.2, "interval": [-0.3, -0.1], "factor": 2.0, "correlation": -0.9}
    ks = {"normal": 0.1, "rank": 0.05}
    return {
        "sizes": {"64": first, "1000": first | {"far": {"pixel": MEASURE, "feature": MEASURE}}},
        "slope": {"radius": law, "null": law},
        "null": {"distance": ks, "loss": ks, "loss_share05": 0.06},
        "quality_real": 1.0,
        "retrain": {"exact": MEASURE, "distance": MEASURE, "quality": 8.0},
    }


def numbers():
    return of_file(record(), "results/s/ablation/all/ablation.json", "id")


def test_numbers():
    found = numbers()
    assert found["ablation.slope.radius"]["value"] == -0.2
    assert found["ablation.slope.radius"]["interval"] == [-0.3, -0.1]
    assert found["ablation.radius.n1000"]["n"] == {"samples": 5}
    assert found["ablation.search.cost_n64"]["interval"] is None
    assert found["ablation.null.ks_distance_normal"]["value"] == 0.1
    assert found["ablation.retrain.exact"]["unit"] == "correlation"
    assert found["ablation.quality.retrained"]["value"] == 8
    assert "ablation.far.feature_n64" not in found  # not defined: no number, and no 0 in its place
    assert "ablation.far.feature_n1000" in found


def test_a_value_that_is_no_number_is_refused():
    bad = record()
    bad["quality_real"] = float("nan")
    with pytest.raises(StudyError, match="not a finite number"):
        of_file(bad, "results/s/ablation/all/ablation.json", "id")


def test_table():
    table = ablation.ablation_table(numbers(), [64, 1000])
    assert table.index.tolist() == [64, 1000]
    assert table.loc[64, "radius_low"] == 0.4
    assert np.isnan(table.loc[64, "far_feature"])
    lines = ablation.ablation_markdown(numbers(), [64, 1000]).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| - |" in lines[2]
    assert "0.50 [0.40, 0.60]" in lines[3]


def test_figures_are_drawn(tmp_path):
    exact = RNG.uniform(0, 1, (8, 5))
    figure = ablation.radius_by_size(
        RNG.uniform(1, 2, (2, 5)), RNG.uniform(0.1, 1, (2, 5)), [64, 1000], {"factor": 2, "slope": -0.2}, exact, exact
    )
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    save(figure, tmp_path, "radius")
    images = RNG.uniform(-1, 1, (8, 5, 1, 4, 4))
    top = np.argsort(-exact, axis=0)[:2].T[:3]
    figure = ablation.counterfactuals(images[0], images, images[:, 0], top)
    assert len(figure.axes) == 3 * 5
    save(figure, tmp_path, "counterfactuals")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}
