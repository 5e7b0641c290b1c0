"""Table and figures of the study's encoded ensembles.

Writes ablation.csv and .md from the reported numbers, and the figures radius and counterfactuals.
"""

import numpy as np

from attribution.core.store import load_json, load_tensors, save_text
from attribution.provenance.job import Job, main
from attribution.reporting import ablation
from attribution.reporting.style import save

NAMES = ("radius", "counterfactuals")
OUTPUTS = {f"ablation.{ending}": "tolerance" for ending in ("csv", "md")} | {
    f"{figure}.{ending}": "tolerance" for figure in NAMES for ending in ("png", "svg")
}
SHOWN = 6  # samples, the first ones
TOP = 3  # units of most influence of each


def run(job: Job) -> None:
    """A unit is pictured by its first image."""
    sizes = job.spec["ablation"]["sizes"]
    numbers, arrays = load_json(job.input("numbers")), load_tensors(job.input("arrays"))
    save_text(job.out / "ablation.csv", ablation.ablation_table(numbers, sizes).to_csv(lineterminator="\n"))
    save_text(job.out / "ablation.md", ablation.ablation_markdown(numbers, sizes) + "\n")
    law = {"slope": numbers["ablation.slope.radius"]["value"], "factor": numbers["ablation.slope.factor"]["value"]}
    figure = ablation.radius_by_size(arrays["radius"], arrays["typical"], sizes, law, arrays["exact"], arrays["first"])
    save(figure, job.out, "radius")
    land, unit = load_tensors(job.input("landscape")), load_tensors(job.input("design"))["unit"]
    faces = load_tensors(job.input("pool"))["images"][np.unique(unit, return_index=True)[1]]
    top = np.argsort(-arrays["exact"], axis=0, kind="stable")[:TOP].T[:SHOWN]  # [G, k]
    save(ablation.counterfactuals(land["factual"], land["counterfactual"], faces, top), job.out, "counterfactuals")


if __name__ == "__main__":
    main(run, OUTPUTS)
