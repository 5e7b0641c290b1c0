"""The study's figures, as PNG and SVG.

Writes the figures NAMES.
"""

import numpy as np

from attribution.core.store import load_json, load_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.reporting import figures, pictures
from attribution.reporting.style import KINDS, save
from attribution.steps.outcomes import has_units, layer_of, query_kinds, retrained

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
COMPARED = ("trak", "gradient_dot", "pixel_l2")  # whose top influences are pictured beside the best method's


def run(job: Job) -> None:
    """Each figure from metric files; pictures from images and scores."""
    methods = sorted(job.spec["methods"])
    judged = {method: load_json(path) for method, path in zip(methods, job.inputs["lds"], strict=True)}
    records = {method: record["kinds"] for method, record in judged.items()}
    ceiling = load_json(job.input("ceiling"))
    queries = load_tensors(job.input("queries"))["images"]
    kinds = query_kinds(job.input("queries"))
    train = load_tensors(job.input("train"))["images"]
    shown = np.concatenate([np.flatnonzero(kinds == kind)[:SHOWN] for kind in KINDS])
    titles = [f"{KINDS[kinds[q]]} {q}" for q in shown]

    generated = queries[kinds == "generated"]
    save(pictures.samples(generated, min(10, len(generated))), job.out, "samples")
    save(figures.lds_by_method(records, ceiling["ceiling"]["kinds"]), job.out, "lds_by_method")
    by_target = {method: {"loss": record["kinds"]} | record["targets"] for method, record in judged.items()}
    save(figures.targets(by_target), job.out, "targets")
    save(figures.damping_sweep(records), job.out, "damping_sweep")
    save(figures.lds_by_draws(_draws(job, records)), job.out, "lds_by_draws")
    save(figures.seed_control(ceiling["control"]["kinds"]), job.out, "seed_control")

    removal = load_json(job.input("removal"))["percents"]
    save(figures.retrain_without_top(removal), job.out, "retrain_without_top")

    save(figures.prevalence(load_json(job.input("prevalence"))["methods"]), job.out, "prevalence")
    foretold = _foretold(job.spec["methods"])
    changes = load_tensors(job.input("changes"))
    picture = figures.predicted_change(changes[f"predicted.{foretold}"], changes["actual.loss"], kinds, foretold)
    save(picture, job.out, "predicted_change")

    ranked = [method for method in figures.order(records) if method != "random"]
    scores = dict(zip(methods, job.inputs["scores"], strict=True))
    best = ranked[0] if ranked else methods[0]
    pictured = [best, *(method for method in COMPARED if method != best and method in records)]
    top = {method: _top(load_tensors(scores[method]), records[method], kinds, shown, 5) for method in pictured}
    save(pictures.top_influences(queries[shown], titles, train, top), job.out, "top_influences")

    models = retrained(job.inputs["subsets"], job.inputs["losses"], len(train), "loss")
    prediction = load_tensors(job.inputs["arrays"][methods.index(best)])["prediction"]  # [S, Q]
    measured = models.outcomes.mean(0)  # [S, Q]
    picture = pictures.predicted_vs_actual(prediction[:, shown], measured[:, shown], titles, best, 3)
    save(picture, job.out, "predicted_vs_actual")


def _foretold(methods: dict[str, dict]) -> str:
    """The method whose predicted changes of the loss are drawn: FORETOLD, or the first other with units."""
    able = [m for m in sorted(methods) if has_units(methods[m]) and methods[m]["measurement"] == "loss"]
    if not able:
        raise StudyError("no changes of the loss to draw: none of the methods is influence of the loss")
    return FORETOLD if FORETOLD in able else able[0]


def _draws(job: Job, records: dict) -> list[dict]:
    """Rows of the draws figure: the sweep, and the study's own number of draws at the default dampings."""
    swept = load_json(job.input("draws"))
    rows = [
        {"method": entry["method"], "kind": kind, "draws": entry["draws"]}
        | {key: score[key] for key in ("lds", "interval")}
        for entry in swept
        for kind, score in entry["kinds"].items()
    ]
    for method in dict.fromkeys(entry["method"] for entry in swept):
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
