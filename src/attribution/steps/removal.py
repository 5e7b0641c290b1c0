"""Loss increase of queries whose top influences were removed, by method and share removed.

Writes removal.json: {"percents": {percent: {kind: {method: {value, interval, over_control, n}}}}}, kind "all" included.
"""

import numpy as np

from attribution.core.store import load_tensors, save_json
from attribution.evaluation.removal import compare, increase
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds

OUTPUTS = {"removal.json": "tolerance"}
CONTROL = "random"


def run(job: Job) -> None:
    """Files come in the order of paths.removals: nothing removed, then percents within methods."""
    removal, settings = job.spec["removal"], job.spec["evaluation"]
    options = job.spec["seed"], settings["bootstrap"], settings["coverage"]
    replicates = removal["replicates"]
    pairs = [
        (load_tensors(subsets)["query"].reshape(replicates, -1), load_tensors(losses)["loss"])
        for subsets, losses in zip(job.inputs["subsets"], job.inputs["losses"], strict=True)
    ]
    full = pairs[0][1]  # [R, Q] of all queries
    kinds = query_kinds(job.input("queries"))
    found: dict[int, dict[str, np.ndarray]] = {percent: {} for percent in removal["percents"]}
    cells = [(method, percent) for method in removal["methods"] for percent in removal["percents"]]
    for (method, percent), (rows, loss) in zip(cells, pairs[1:], strict=True):
        queries = rows[0]
        own = loss.reshape(*rows.shape, -1)[:, np.arange(len(queries)), queries]  # [R, Q chosen]
        found[percent][method] = increase(own, full[:, queries])
    record = {}
    for percent, increases in found.items():
        groups = {"all": np.ones(len(queries), dtype=bool)}
        groups |= {kind: kinds[queries] == kind for kind in dict.fromkeys(kinds.tolist())}
        record[str(percent)] = {
            kind: compare({method: delta[chosen] for method, delta in increases.items()}, CONTROL, *options)
            for kind, chosen in groups.items()
        }
    save_json(job.out / "removal.json", {"percents": record})


if __name__ == "__main__":
    main(run, OUTPUTS)
