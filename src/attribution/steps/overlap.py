"""Whether the methods that counterfactual retraining judges name the same examples as each other, and for all queries.

Writes overlap.json: {"k": length of a list, "within": method -> kind -> {value, interval, n}, "between": method ->
other -> the same for generated queries}; a kind with a single query is left out.
"""

from attribution.core.store import save_json
from attribution.evaluation.top_k_agreement import between, within
from attribution.provenance.job import Job, main
from attribution.steps.retrained import query_kinds, ranked

OUTPUTS = {"overlap.json": "tolerance"}
KIND = "generated"


def run(job: Job) -> None:
    """--scores and --lds: of the judged methods, in order; queries are ranked at the damping chosen for their kind."""
    choice, settings = job.spec["counterfactual"], job.spec["evaluation"]
    options = choice["joint"]["count"], job.spec["seed"], settings["bootstrap"], settings["coverage"]
    kinds = query_kinds(job.input("queries"))
    files = zip(choice["methods"], job.inputs["scores"], job.inputs["lds"], strict=True)
    of_method = {method: ranked(scores, lds, kinds) for method, scores, lds in files}
    found = {"k": choice["joint"]["count"], "within": {}, "between": {}}
    for a, of in of_method.items():
        found["within"][a] = {kind: within(scores, *options) for kind, scores in of.items()}
        others = [b for b in of_method if b > a and KIND in of]
        found["between"][a] = {b: between(of[KIND], of_method[b][KIND], *options) for b in others}
    save_json(job.out / "overlap.json", found)


if __name__ == "__main__":
    main(run, OUTPUTS)
