"""From scores and measured losses to numbers, tables and figures, in a world whose influence is known.

Losses are linear in who is trained on, so the scores of `ekfac` foresee every change; `trak` is a noisy copy, whose
ensemble has less noise; `tracin` ranks the longest gradients first for every query, `retrac` does not.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from attribution.core.rng import rng
from attribution.core.store import load_json, load_tensors, save_json, save_tensors
from attribution.evaluation.removal import compare
from attribution.provenance import receipt
from attribution.provenance.job import Job
from attribution.steps import ceiling, figures, lds, numbers, outcomes, overestimate, prevalence, tables

ROOT = Path(__file__).parents[2]
N, S, KINDS = 30, 16, ("generated", "heldout", "training")
KIND = np.repeat(np.arange(3, dtype=np.uint8), 6)
Q = len(KIND)
GRID = {"damping": 0.1, "dampings": [0.1, 1.0]}
METHODS = {
    "ekfac": {"curvature": "model", "measurement": "loss"} | GRID,
    "ekfac_elbo": {"curvature": "model", "measurement": "elbo"} | GRID,
    "ggn_solve": {"measurement": "loss", "learning_rate": None},  # influence too, without dampings
    "trak": {"measurement": "loss"} | GRID,
    "ensemble_trak": {"of": "trak"},
    "random": {},
    "tracin": {},
    "retrac": {},
}
SETTINGS = {"bootstrap": 60, "coverage": 0.9, "compare": [["retrac", "tracin"], ["ensemble_trak", "trak"]]}
SPEC = {
    "seed": 0,
    "data": {"train": N},
    "evaluation": SETTINGS,
    "methods": METHODS,
    "measurement": {"quantities": ["loss", "elbo"]},
    "gradients": {"draws": 100},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The study's folder, with everything below summary made by its steps."""
    root = tmp_path_factory.mktemp("reports")
    write_world(root)
    files = {name: [root / f"{name}{r}.safetensors" for r in (0, 1)] for name in ("subsets", "losses")}
    run(root, outcomes, "outcomes", files, {"stream": "crn"})
    common = {"queries": root / "queries/q.safetensors", "outcomes": root / "outcomes/outcomes.safetensors"}
    by_method = {
        name: [root / f"lds/{m}/lds.{end}" for m in sorted(METHODS)]
        for name, end in (("lds", "json"), ("arrays", "safetensors"))
    }
    scores = [root / f"scores/{m}/scores.safetensors" for m in sorted(METHODS)]
    for method, path in zip(sorted(METHODS), scores, strict=True):
        run(root, lds, f"lds/{method}", {"scores": path, **common}, {"base": METHODS[method].get("of", method)})
    run(root, ceiling, "ceiling", {**common, "own": common["outcomes"]})
    run(root, overestimate, "overestimate", {"scores": scores, "baseline": root / "without/l.safetensors", **common})
    inputs = {"scores": scores, "lds": by_method["lds"], "gram": root / "gram/gram.safetensors"}
    run(root, prevalence, "prevalence", {**inputs, "queries": common["queries"]})
    metrics = {name: root / f"{name}/{name}.json" for name in ("ceiling", "removal", "overestimate", "prevalence")}
    run(root, numbers, "numbers", {**by_method, **metrics})
    (root / "peers.csv").write_text("work,peer,ours_s,peer_s,ratio,ours_mb,peer_mb\nfactors,other,1,4,0.25,5,6\n")
    stated = {"claims": ROOT / "config/claims.yaml", "peers": root / "peers.csv"}
    run(root, tables, "tables", {"numbers": root / "numbers/numbers.json", **stated})
    metrics |= {"changes": root / "overestimate/overestimate.safetensors", "draws": root / "draws/lds.json"}
    del metrics["overestimate"]
    pictured = {"train": root / "images/train.safetensors", "scores": scores, "autoencoder": []}
    run(root, figures, "figures", {**by_method, **metrics, **common, **pictured})
    return root


def run(root: Path, step, out: str, inputs: dict, wildcards: dict | None = None) -> None:
    """The step's work, and a receipt with an id for the numbers to name."""
    files = {key: value if isinstance(value, list) else [value] for key, value in inputs.items()}
    (root / out).mkdir(parents=True)
    step.run(Job(step.__name__, SPEC | {"job": wildcards or {}}, root / out, files, out))
    assert {path.name for path in (root / out).iterdir()} == step.OUTPUTS.keys()
    receipt.write(root / out, {"format": receipt.FORMAT, "id": f"id of {out}", "outputs": []})


def write_world(root: Path) -> None:
    stream = rng(0, "test reports")
    influence = {"loss": stream.normal(size=(Q, N)) + 1, "elbo": stream.normal(size=(Q, N)) + 1}
    norms = np.exp(np.linspace(-2, 2, N))
    write_losses(root, influence, stream)
    noisy = influence["loss"] + 2 * stream.normal(size=(Q, N))
    towards = stream.normal(size=(Q, N))
    scores = {
        "ekfac": influence["loss"],
        "ekfac_elbo": influence["elbo"],
        "ggn_solve": influence["loss"],
        "trak": noisy,
        "ensemble_trak": influence["loss"] + 0.5 * (noisy - influence["loss"]),
        "random": stream.normal(size=(Q, N)),
        "tracin": norms * np.abs(towards),
        "retrac": towards,
    }
    for method, layer in scores.items():
        worse = layer + 3 * stream.normal(size=(Q, N))
        settings = METHODS[METHODS[method].get("of", method)]
        grid = {"dampings": np.array(settings["dampings"])} if "dampings" in settings else {}
        held = np.stack([layer, worse] if grid else [layer]).astype(np.float32)
        save_tensors(root / f"scores/{method}/scores.safetensors", {"scores": held} | grid)
    save_tensors(root / "gram/gram.safetensors", {"train_norm": norms**2})
    queries = {"images": stream.uniform(-1, 1, (Q, 1, 4, 4)), "kind": KIND}
    save_tensors(root / "queries/q.safetensors", queries, {"kinds": KINDS})
    save_tensors(root / "images/train.safetensors", {"images": stream.uniform(-1, 1, (N, 1, 4, 4))})
    increases = {"random": stream.normal(size=6), "ekfac": 5 + stream.normal(size=6), "trak": stream.normal(size=6)}
    record = {kind: compare(increases, "random", 0, 50, 0.9) for kind in ("all", *KINDS)}
    save_json(root / "removal/removal.json", {"percents": {"10": record}})
    receipt.write(root / "removal", {"format": receipt.FORMAT, "id": "by hand", "outputs": []})
    plain = {kind: {"lds": 0.1, "interval": [0.0, 0.2]} for kind in KINDS}
    save_json(root / "draws/lds.json", [{"method": "trak", "draws": 10, "kinds": plain}])


def write_losses(root: Path, influence: dict[str, np.ndarray], stream: np.random.Generator) -> None:
    """Two replicates, of which the second trains to losses that are higher by 7, on all examples too."""
    members = np.stack([np.sort(stream.choice(N, N // 2, replace=False)) for _ in range(S)])
    out = np.ones((S, N))
    np.put_along_axis(out, members, 0.0, axis=1)
    for r in (0, 1):
        subsets = {"members": members, "number": np.arange(S)}
        names = [f"crn{r}/subset {s}" for s in range(S)]
        save_tensors(root / f"subsets{r}.safetensors", subsets, {"replicate": r, "names": names})
        noise = 1e-3 * stream.normal(size=(S, Q))
        found = {quantity: 7.0 * r + out @ scores.T / N + noise for quantity, scores in influence.items()}
        save_tensors(root / f"losses{r}.safetensors", found)
    every = {quantity: np.full((2, Q), 7.0) * np.arange(2)[:, None] for quantity in influence}
    save_tensors(root / "without/l.safetensors", every)


def test_spreads_of_every_target_are_kept(study: Path) -> None:
    names = set(load_tensors(study / "lds/ekfac/lds.safetensors"))
    for kind in KINDS:
        for what in ("", "default_", "least_"):
            assert {f"spread_{what}{kind}", f"spread_{what}{kind}.elbo"} <= names
    assert "prediction.elbo" not in names
    record = load_json(study / "lds/ekfac_elbo/lds.json")
    assert record["targets"].keys() == {"elbo"}
    assert record["targets"]["elbo"]["heldout"]["lds"] > 0.95 > record["kinds"]["heldout"]["lds"]
    assert load_json(study / "lds/ensemble_trak/lds.json")["kinds"]["heldout"]["default"]["damping"] == 0.1


def test_differences_are_of_every_target_and_of_each_pair_once(study: Path) -> None:
    found = load_json(study / "numbers/numbers.json")
    pairs = {key.split(".")[1] for key in found if key.startswith("lds_difference.")}
    others = {f"ekfac_{method}" for method in METHODS if method != "ekfac"}
    assert pairs == others | {"retrac_tracin", "ensemble_trak_trak"}
    for target in ("", ".elbo"):
        for kind in KINDS:
            each = [found[f"lds.{method}.{kind}{target}"]["value"] for method in ("ekfac", "trak")]
            entry = found[f"lds_difference.ekfac_trak.{kind}{target}"]
            assert entry["value"] == pytest.approx(each[0] - each[1])
            assert (entry["source"].rpartition("/")[2], entry["receipt"]) == ("derived.json", "numbers")
            assert entry["at"] == f"/lds_difference/ekfac_trak/{target[1:] or 'loss'}/{kind}/value"
    assert found["lds_difference.ekfac_ekfac_elbo.heldout"]["interval"][0] > 0
    assert found["lds_difference.ekfac_ekfac_elbo.heldout.elbo"]["interval"][1] < 0
    assert found["lds_tuning.trak.heldout"]["value"] == pytest.approx(
        found["lds.trak.heldout"]["value"] - found["lds.trak_default.heldout"]["value"]
    )
    assert found["retrain_difference.ekfac_trak.k10"]["interval"][0] > 0


def test_influence_of_a_linear_world_foresees_every_change(study: Path) -> None:
    found = load_json(study / "overestimate/overestimate.json")
    assert found.keys() == {"ekfac", "ekfac_elbo", "ggn_solve"}
    for record in found.values():
        for entry in record.values():
            assert entry["slope"]["value"] == pytest.approx(1.0, abs=0.01)  # 14 and more without pairing replicates
            assert abs(entry["difference"]["value"]) < 0.05
    arrays = load_tensors(study / "overestimate/overestimate.safetensors")
    assert arrays.keys() == {f"predicted.{method}" for method in found} | {"actual.loss", "actual.elbo"}
    np.testing.assert_allclose(arrays["predicted.ekfac_elbo"], arrays["actual.elbo"], atol=0.01)


def test_scores_that_hold_the_length_share_their_top(study: Path) -> None:
    found = load_json(study / "numbers/numbers.json")
    for kind in KINDS:
        assert found[f"prevalence_difference.retrac_tracin.{kind}.overlap"]["interval"][1] < 0
        assert found[f"norm_correlation_difference.retrac_tracin.{kind}"]["interval"][1] < 0


def test_claims_are_judged(study: Path) -> None:
    rows = list(csv.DictReader((study / "tables/claims.csv").open()))
    verdicts = {row["claim"]: row["verdict"] for row in rows}
    assert verdicts["ekfac_above_trak"] == "holds"
    assert verdicts["retrac_less_prevalent"] == "holds"
    assert verdicts["loss_for_elbo"] == "fails"  # here each quantity has influence of its own
    assert verdicts["removal_10_above_trak"] == "holds"
    assert verdicts["removal_2_above_trak"] == "not tested"
    assert verdicts["ekfac_above_kfac"] == "not tested"
    text = (study / "tables/claims.md").read_text()
    assert len(text.splitlines()) == 2 + len(verdicts)
    assert (
        (study / "tables/targets.md").read_text().startswith("| LDS, generated / held-out / training | Loss | ELBO |")
    )


def test_benchmarks_are_shown_as_they_were_run(study: Path) -> None:
    assert "| factors | other | 1 | 4 | 0.25 | 5 | 6 |" in (study / "tables/peers.md").read_text()


def test_all_figures_are_drawn(study: Path) -> None:
    for name in figures.NAMES:
        assert (study / f"figures/{name}.png").stat().st_size > 2000
