"""The study's figures, as PNG and SVG.

Writes the figures NAMES.
"""

from collections.abc import Callable

import numpy as np

from attribution.core.store import load_json, load_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.reporting import pictures
from attribution.reporting.figures import prevalence, retraining, scores, sweeps
from attribution.reporting.figures.parts import order
from attribution.reporting.names import KINDS
from attribution.reporting.style import save
from attribution.steps.retrained import has_units, layer_of, query_kinds, retrained

NAMES = (
    "samples",
    "lds_by_method",
    "targets",
    "damping_sweep",
    "lds_by_draws",
    "top_influences",
    "predicted_vs_actual",
    "predicted_change",
    "prevalence",
    "seed_control",
    "retrain_without_top",
)
OUTPUTS = {f"{figure}.{ending}": "tolerance" for figure in NAMES for ending in ("png", "svg")}
SHOWN = 2  # queries of each kind in the picture figures: the first ones, not chosen by their results
FORETOLD = "ekfac"  # whose predicted changes are drawn, where the study has it
DECODED = 8  # latents in one pass: memory, not results
SWEPT = ("gradient_dot", "trak", "ekfac")  # by number of draws; a point each where nothing is swept
COMPARED = ("trak", "gradient_dot", "pixel_l2")  # whose top influences are pictured beside the best method's


def run(job: Job) -> None:
    """Each figure from metric files; pictures from images and scores."""
    methods = sorted(job.spec["methods"])
    judged = {method: load_json(path) for method, path in zip(methods, job.inputs["lds"], strict=True)}
    records = {method: record["kinds"] for method, record in judged.items()}
    ceiling = load_json(job.input("ceiling"))
    visible, queries = _visible(job), load_tensors(job.input("queries"))["images"]
    kinds = query_kinds(job.input("queries"))
    train = load_tensors(job.input("train"))["images"]
    shown = np.concatenate([np.flatnonzero(kinds == kind)[:SHOWN] for kind in KINDS])
    titles = [f"{KINDS[kinds[q]]} {q}" for q in shown]

    generated = visible(queries[kinds == "generated"])
    save(pictures.samples(generated, min(10, len(generated))), job.out, "samples")
    save(scores.lds_by_method(records, ceiling["ceiling"]["kinds"]), job.out, "lds_by_method")
    by_target = {method: {"loss": record["kinds"]} | record["targets"] for method, record in judged.items()}
    save(scores.targets(by_target), job.out, "targets")
    save(sweeps.damping_sweep(records), job.out, "damping_sweep")
    save(sweeps.lds_by_draws(_draws(job, records)), job.out, "lds_by_draws")
    save(retraining.seed_control(ceiling["control"]["kinds"]), job.out, "seed_control")

    removal = load_json(job.input("removal"))["percents"]
    save(retraining.retrain_without_top(removal), job.out, "retrain_without_top")

    save(prevalence.prevalence(load_json(job.input("prevalence"))["methods"]), job.out, "prevalence")
    foretold = _foretold(job.spec["methods"])
    changes = load_tensors(job.input("changes"))
    picture = retraining.predicted_change(changes[f"predicted.{foretold}"], changes["actual.loss"], kinds, foretold)
    save(picture, job.out, "predicted_change")

    ranked = [method for method in order(records) if method != "random"]
    places = dict(zip(methods, job.inputs["scores"], strict=True))
    best = ranked[0] if ranked else methods[0]
    pictured = [best, *(method for method in COMPARED if method != best and method in records)]
    top = {method: _top(load_tensors(places[method]), records[method], kinds, shown, 5) for method in pictured}
    chosen, rank = np.unique(np.concatenate([rows.ravel() for rows in top.values()]), return_inverse=True)
    placed = dict(zip(top, rank.reshape(len(top), *top[best].shape), strict=True))  # rows of the chosen examples
    picture = pictures.top_influences(visible(queries[shown]), titles, visible(train[chosen]), placed)
    save(picture, job.out, "top_influences")

    models = retrained(job.input("outcomes"), len(train), "loss")
    prediction = load_tensors(job.inputs["arrays"][methods.index(best)])["prediction"]  # [S, Q]
    measured = models.outcomes.mean(0)  # [S, Q]
    picture = pictures.predicted_vs_actual(prediction[:, shown], measured[:, shown], titles, best, 3)
    save(picture, job.out, "predicted_vs_actual")


def _visible(job: Job) -> Callable[[np.ndarray], np.ndarray]:
    """Images as they are shown: of latents what the autoencoder makes of them, else the images themselves."""
    if not job.inputs["autoencoder"]:
        return lambda images: images
    import torch  # seconds, which only studies of latents spend

    from attribution.diffusion import autoencoder

    model = autoencoder.load(job.input("autoencoder"), torch.device("cpu"))
    return lambda images: autoencoder.decode(model, torch.from_numpy(images), DECODED).numpy()


def _foretold(methods: dict[str, dict]) -> str:
    """The method whose predicted changes of the loss are drawn: FORETOLD, or the first other with units."""
    able = [m for m in sorted(methods) if has_units(methods[m]) and methods[m]["measurement"] == "loss"]
    if not able:
        raise StudyError("no changes of the loss to draw: none of the methods is influence of the loss")
    return FORETOLD if FORETOLD in able else able[0]


def _draws(job: Job, records: dict) -> list[dict]:
    """Rows of the draws figure: the sweep where the study has one, and its own number of draws at default dampings."""
    swept = load_json(job.input("draws")) if job.inputs["draws"] else []
    rows = [
        {"method": entry["method"], "kind": kind, "draws": entry["draws"]}
        | {key: score[key] for key in ("lds", "interval")}
        for entry in swept
        for kind, score in entry["kinds"].items()
    ]
    for method in dict.fromkeys(entry["method"] for entry in swept) or [m for m in SWEPT if m in records]:
        for kind, score in records[method].items():
            full = score["default"] or score
            rows.append(
                {"method": method, "kind": kind, "draws": job.spec["gradients"]["draws"]}
                | {key: full[key] for key in ("lds", "interval")}
            )
    return rows


def _top(scored: dict, record: dict, kinds: np.ndarray, shown: np.ndarray, count: int) -> np.ndarray:
    """The highest-scoring examples of each shown query, [len(shown), count], at the damping chosen for its kind."""
    rows = []
    for q in shown:
        row = scored["scores"][layer_of(scored, record[kinds[q]]), q]
        rows.append(np.argsort(-row, kind="stable")[:count])
    return np.stack(rows)


if __name__ == "__main__":
    main(run, OUTPUTS)
