"""Score by an ensemble of methods: the mean of their ranks, or a stack fitted to retrained models.

Writes scores.safetensors: scores [2, Q, N] float32, larger = removing n hurts q more, and folds [2]: layer 0 learned
from the selection half of the subsets (dampings of the members, weights of a stack), layer 1 from the reporting half.
The step lds judges each by the other half; retrainings without the top examples use layer 0.
"""

import numpy as np

from attribution.core.store import load_tensors
from attribution.evaluation.lds import group_prediction, mean_outcome
from attribution.evaluation.selection import by_kind, choose, halves
from attribution.provenance.job import Job, main
from attribution.steps import scoring
from attribution.steps.retrained import query_kinds, retrained

OUTPUTS = {"scores.safetensors": "tolerance"}
FOLDS = ("selection", "reporting")


def run(job: Job) -> None:
    """The method's function of (scores [K, Q, N], predictions [K, S, Q], measured [S, Q], settings), kind by kind."""
    combine, settings = scoring.function(job), scoring.settings(job)
    members = [load_tensors(path) for path in job.inputs["scores"]]
    queries, examples = members[0]["scores"].shape[1:]
    models = retrained(job.input("outcomes"), examples, "loss")
    measured, kinds = mean_outcome(models.outcomes), query_kinds(job.input("queries"))
    split = halves(len(measured), job.spec["seed"])
    predicted = [np.stack([group_prediction(models.masks, layer) for layer in one["scores"]]) for one in members]
    combined = np.empty((len(FOLDS), queries, examples))
    for fold, half in enumerate(FOLDS):
        other = FOLDS[1 - fold]
        way = {"selection": split[half], "reporting": split[other]}
        for rows in by_kind(kinds, queries).values():
            scores, predictions = [], []
            for one, prediction in zip(members, predicted, strict=True):
                dampings = one.get("dampings", np.empty(0)).tolist()
                layer = choose(prediction[:, :, rows], measured[:, rows], way, dampings)[0]["position"]
                scores.append(one["scores"][layer, rows])
                predictions.append(prediction[layer][np.ix_(split[half], rows)])
            truth = measured[np.ix_(split[half], rows)]
            combined[fold, rows] = combine(np.stack(scores), np.stack(predictions), truth, settings)
    scoring.save(job, combined, queries, examples, folds=np.arange(len(FOLDS)))


if __name__ == "__main__":
    main(run, OUTPUTS)
