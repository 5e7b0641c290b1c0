"""Figures: what is drawn is what was given; files are whole and the same bytes twice."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from attribution.core.rng import rng
from attribution.errors import StudyError
from attribution.reporting import pictures
from attribution.reporting.figures import prevalence, retraining, scores, sweeps
from attribution.reporting.names import name, quantity
from attribution.reporting.style import colour, marker, save
from attribution.workflow import registry

KINDS = ("generated", "heldout", "training")


def record(level: float, with_damping: bool) -> dict:
    sweep = [
        {"damping": d, "selection": level - s, "reporting": level - s - 0.01} for d, s in ((1.0, 0.0), (0.1, 0.05))
    ]
    return {
        kind: {
            "lds": level - 0.01,
            "interval": [level - 0.1, level + 0.05],
            "selected_damping": 1.0 if with_damping else None,
            "default": {"damping": 0.1, "lds": level - 0.06, "interval": [0, 1]} if with_damping else None,
            "sweep": sweep if with_damping else [],
        }
        for kind in KINDS
    }


RECORDS = {"random": record(0.0, False), "ekfac": record(0.8, True), "trak": record(0.6, True)}
CEILINGS = {kind: {"ceiling": 0.9, "interval": [0.85, 0.95]} for kind in KINDS}
CONTROL = {
    "heldout": {
        "crn": {"value": 0.8, "interval": [0.7, 0.9]},
        "own": {"value": 0.4, "interval": [-0.1, 0.6]},
        "equivalent_replicates": {"value": 6.0, "interval": [2.0, None]},
    }
}


def lines(figure: Figure, panel: int) -> list[tuple[list[float], list[float]]]:
    return [
        (np.atleast_1d(line.get_xdata()).tolist(), np.atleast_1d(line.get_ydata()).tolist())
        for line in figure.axes[panel].lines
    ]


def test_lds_by_method_draws_every_score_best_first() -> None:
    figure = scores.lds_by_method(RECORDS, CEILINGS)
    assert [axes.get_title() for axes in figure.axes] == ["Generated", "Held-out", "Training"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["EK-FAC", "TRAK", "Random"]
    drawn = lines(figure, 1)
    for row, level in enumerate((0.8, 0.6, 0.0)):
        assert ([level - 0.01], [row]) in drawn
        assert ([level - 0.1, level + 0.05], [row, row]) in drawn
    assert ([0.9, 0.9], [0, 1]) in drawn  # the ceiling


def test_rows_have_the_colour_of_their_family() -> None:
    methods = ("ekfac", "ekfac_loss", "kfac", "trak", "ensemble_trak", "retrac", "random", "another", "abu_plus")
    figure = scores.lds_by_method({method: record(0.5, False) for method in methods}, {})
    rows = {label.get_text(): row for row, label in enumerate(figure.axes[0].get_yticklabels())}
    shades = {line.get_ydata()[0]: line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"}
    found = {method: shades[rows[name(method)]] for method in methods}
    assert found["ekfac"] == found["ekfac_loss"] == colour("ekfac")
    assert found["trak"] == found["ensemble_trak"] == colour("trak")
    assert found["kfac"] == colour("kfac")
    assert len(set(found.values())) == 7
    texts = [text.get_text() for text in figure.legends[1].get_texts()]
    assert texts == ["Baselines", "Gradients", "Kernels", "Curvature", "EK-FAC", "Unlearning", "Other"]


def test_damping_sweep_draws_both_halves_and_marks() -> None:
    figure = sweeps.damping_sweep(RECORDS)
    drawn = lines(figure, 0)
    assert ([0.1, 1.0], [pytest.approx(0.74), pytest.approx(0.79)]) in drawn  # reporting, ascending in damping
    assert ([0.1, 1.0], [pytest.approx(0.75), pytest.approx(0.8)]) in drawn  # selection
    assert ([1.0], [pytest.approx(0.79)]) in drawn  # chosen
    assert ([0.1], [pytest.approx(0.74)]) in drawn  # default
    assert figure.axes[0].get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["EK-FAC", "TRAK"]
    with pytest.raises(StudyError, match="no damping sweep"):
        sweeps.damping_sweep({"random": RECORDS["random"]})


def test_many_sweeps_are_drawn_by_family() -> None:
    levels = {"ekfac": 0.8, "ekfac_loss": 0.7, "kfac": 0.6, "trak": 0.5, "trak_count": 0.4, "dtrak": 0.3}
    levels |= {f"ekfac_loss_at_{t}": 0.2 + t / 10000 for t in range(0, 700, 100)}
    figure = sweeps.damping_sweep({method: record(level, True) for method, level in levels.items()})
    legends = [axes.get_legend() for axes in figure.axes]
    rows = [[text.get_text() for text in legend.get_texts()] for legend in legends if legend]
    assert [len(row) for row in rows] == [5, 4, 1, 3]
    assert rows[0][:3] == ["EK-FAC", "EK-FAC, loss split", "EK-FAC of loss at t = 600"]
    assert rows[2:] == [["K-FAC"], ["TRAK", "TRAK, count-sketch", "D-TRAK"]]
    assert len(figure.axes) == 4 * 3
    assert ([0.1, 1.0], [pytest.approx(0.54), pytest.approx(0.59)]) in lines(figure, 6)  # K-FAC, generated


def test_targets_shows_every_score() -> None:
    records = {
        "trak": {"loss": {"heldout": {"lds": 0.2}}, "loss_at_500": {"heldout": {"lds": -0.4}}},
        "ekfac": {"loss": {"heldout": {"lds": 0.9}}, "loss_at_500": {"heldout": {"lds": 0.25}}},
    }
    figure = scores.targets(records)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.90", "0.25", "0.20", "-0.40"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["EK-FAC", "TRAK"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["Loss", "Loss at t = 500"]


def test_prevalence_draws_both_sides_most_shared_first() -> None:
    def entry(overlap: float, correlation: float) -> dict:
        values = {"overlap": overlap, "norm_correlation": correlation}
        return {"heldout": {side: {"value": v, "interval": [v - 0.1, v + 0.1]} for side, v in values.items()}}

    figure = prevalence.prevalence({"retrac": entry(0.2, 0.1), "tracin": entry(0.6, 0.9)})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["TracIn", "ReTrac"]
    assert ([0.6], [0.0]) in lines(figure, 0)
    assert ([0.0, 0.2], [1.0, 1.0]) in [([round(v, 9) for v in x], y) for x, y in lines(figure, 1)]


def test_predicted_change_keeps_its_units() -> None:
    stream = rng(0, "test change")
    predicted = stream.normal(size=(20, 3))
    actual = np.abs(predicted)
    kinds = np.array(["heldout", "training", "heldout"])
    figure = retraining.predicted_change(predicted, actual, kinds, "ekfac")
    points = np.asarray(figure.axes[0].collections[0].get_offsets())
    np.testing.assert_allclose(points, np.stack([predicted[:, [0, 2]].ravel(), actual[:, [0, 2]].ravel()], 1))
    share = f"{(predicted[:, 1] < 0).mean():.0%}"
    assert figure.axes[1].get_title() == f"Training\nfalls: {share} predicted, 0% actual"
    with pytest.raises(StudyError, match="need 2 queries"):
        retraining.predicted_change(predicted, actual, kinds[:2], "ekfac")


def test_names_of_methods_and_quantities() -> None:
    assert name("ekfac_loss_at_250") == "EK-FAC of loss at t = 250"
    assert name("a_new_method") == "a_new_method"
    assert [quantity(q) for q in ("elbo", "loss_at_7", "other_thing")] == ["ELBO", "Loss at t = 7", "other_thing"]


def test_lds_by_draws_draws_each_line() -> None:
    rows = [
        {"method": m, "kind": k, "draws": d, "lds": level * d / 100, "interval": [0.0, 1.0]}
        for m, level in (("trak", 0.5), ("ekfac", 0.7))
        for k in ("heldout", "training")
        for d in (100, 10)
    ]
    figure = sweeps.lds_by_draws(rows)
    assert ([10, 100], [pytest.approx(0.07), pytest.approx(0.7)]) in lines(figure, 0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["EK-FAC", "TRAK"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["10", "100"]
    with pytest.raises(StudyError, match="no draws sweep"):
        sweeps.lds_by_draws([])


def test_seed_control_says_what_one_replicate_is_worth() -> None:
    figure = retraining.seed_control(CONTROL)
    assert ([0.7, 0.9], [-0.13, -0.13]) in lines(figure, 0)
    assert figure.axes[0].texts[0].get_text() == "worth 6 with\nown seeds [2, ∞]"
    assert "no agreement" in retraining.worth_text({"value": None, "interval": [None, None]})
    assert "more than 3" in retraining.worth_text({"value": None, "interval": [3.0, None]})


def test_mosaic_places_images_row_by_row() -> None:
    images = np.linspace(-1, 1, 3)[:, None, None, None] * np.ones((3, 1, 2, 2))
    shown = pictures.mosaic(images, 2, 1)
    assert shown.shape == (5, 5, 1)
    assert (shown[:2, :2] == 0).all()
    assert (shown[:2, 3:] == 0.5).all()
    assert (shown[3:, :2] == 1).all()
    assert np.isnan(shown[2]).all()
    assert np.isnan(shown[3:, 3:]).all()
    assert pictures.mosaic(np.full((1, 3, 2, 2), 7.0), 1, 1).max() == 1.0
    with pytest.raises(StudyError, match="1 or 3 channels"):
        pictures.mosaic(np.zeros((1, 4, 2, 2)), 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_top_influences_shows_the_chosen_examples(channels: int) -> None:
    images = np.clip(rng(0, "test images").normal(size=(9, channels, 4, 4)), -1, 1)
    top = {"ekfac": np.array([[3, 1], [8, 0]]), "pixel_l2": np.array([[2, 4], [5, 6]])}
    figure = pictures.top_influences(images[:2], ["generated 0", "training 5"], images, top)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Query", "EK-FAC", "Pixel distance"]
    assert figure.axes[3].get_ylabel() == "training 5"
    shown = np.asarray(figure.axes[4].images[0].get_array()).reshape(4, 9, channels)  # second row, EK-FAC
    np.testing.assert_allclose(shown[:, :4], (images[8].transpose(1, 2, 0) + 1) / 2)
    np.testing.assert_allclose(shown[:, 5:], (images[0].transpose(1, 2, 0) + 1) / 2)
    with pytest.raises(StudyError, match="each of the 2 queries"):
        pictures.top_influences(images[:2], ["one"], images, top)


def test_predicted_vs_actual_standardises_and_correlates() -> None:
    stream = rng(0, "test panels")
    prediction = 5 + 3 * stream.normal(size=(20, 3))
    measured = np.stack([prediction[:, 0] ** 3, -prediction[:, 1], stream.normal(size=20)], axis=1)
    figure = pictures.predicted_vs_actual(prediction, measured, ["a", "b", "c"], "ekfac", 2)
    assert r"$\rho$ = 1.00" in figure.axes[0].get_title()
    assert r"$\rho$ = -1.00" in figure.axes[1].get_title()
    points = np.asarray(figure.axes[1].collections[0].get_offsets())
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(points.std(0), 1)
    np.testing.assert_allclose(points[:, 0], -points[:, 1])
    assert not figure.axes[3].axison
    with pytest.raises(StudyError, match="same Q"):
        pictures.predicted_vs_actual(prediction, measured, ["a", "b"], "ekfac", 2)


def test_files_are_the_same_bytes_twice_and_hold_no_date(tmp_path: Path) -> None:
    written = [save(retraining.seed_control(CONTROL), tmp_path / folder, "seed_control") for folder in ("a", "b")]
    assert [path.name for path in written[0]] == ["seed_control.png", "seed_control.svg"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()  # random element ids would differ
    assert b"<dc:date>" not in written[0][1].read_bytes()
    assert written[0][0].read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["seed_control.png", "seed_control.svg"]


def test_samples_keep_the_shape_of_the_grid(tmp_path: Path) -> None:
    figure = pictures.samples(rng(0, "test samples").uniform(-1, 1, size=(7, 1, 8, 8)), 4)
    assert figure.axes[0].images[0].get_array().shape == (17, 35)
    width, height = figure.get_size_inches()
    assert height / width == pytest.approx(17 / 35, rel=0.05)


def test_methods_are_told_apart() -> None:
    methods = registry.methods()
    assert len({(colour(m), marker(m)) for m in methods}) == len(methods)
    assert colour("ekfac_seventh") == colour("ekfac_seventh")


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(StudyError, match="unknown query kind test"):
        scores.lds_by_method({"ekfac": {"test": RECORDS["ekfac"]["heldout"]}}, {})


def test_files_do_not_hold_the_last_digits_of_the_layout(tmp_path: Path) -> None:
    figure = retraining.seed_control(CONTROL)
    save(figure, tmp_path, "seed_control")
    corners = [side for axes in figure.axes for side in axes.get_position(original=True).bounds]
    assert corners == [round(side, 9) for side in corners]  # the solver's own differ between runs
    again = save(figure, tmp_path / "again", "seed_control")
    assert [path.read_bytes() for path in again] == [(tmp_path / path.name).read_bytes() for path in again]
